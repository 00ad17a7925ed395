export { TableNG as Table } from "@grafana/ui/unstable";
