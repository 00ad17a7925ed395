// @grafana/scenes imports these through @grafana/plugin-compat, from a release of @grafana/runtime that is not out yet.
const none = () => Promise.reject(new Error("no data source in this test"));
export const getDataSourceInstance = none;
export const getDataSourceInstanceList = none;
export const getDefaultDataSourceInstanceListItem = none;
