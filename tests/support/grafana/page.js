import "./display.js";
import "./draw.js";
