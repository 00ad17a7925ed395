#!/bin/sh
# Installs templates in Elasticsearch and dashboards in Kibana, as `shipper setup` and `shipper dashboards install` do,
# but with curl only. Running it again changes nothing.
set -eu

put() { # kind of template
    for file in "$TEMPLATES/$1_template/"*.json; do
        name=$(basename "$file" .json)
        if [ "$name" = metrics-shipper@custom ] &&
            curl --fail --silent --output /dev/null "$ELASTICSEARCH/_component_template/$name"; then
            continue # the operator's own
        fi
        echo "template $name"
        curl --fail --silent --show-error --output /dev/null -X PUT "$ELASTICSEARCH/_$1_template/$name" \
            -H 'content-type: application/json' --data-binary "@$file"
    done
}

put component
put index

until curl --fail --silent --output /dev/null "$KIBANA/api/status"; do
    sleep 2
done
for file in "$BOARDS"/*.ndjson; do
    echo "dashboard $(basename "$file" .ndjson)"
    curl --fail --silent --show-error -X POST "$KIBANA/api/saved_objects/_import?overwrite=true" \
        -H 'kbn-xsrf: shipper' -F "file=@$file;type=application/ndjson" | grep -q '"success":true'
done
