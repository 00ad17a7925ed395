export { Table } from "@grafana/ui";
