# Made by `shipper render`. One instance on every client, including those that join later.
job "shipper" {
  datacenters = ["*"]
  type        = "system"

  update {
    max_parallel = 1
    stagger      = "30s"
  }

  group "shipper" {
    restart {
      attempts = 10
      interval = "5m"
      delay    = "5s"
      mode     = "delay"
    }

    task "shipper" {
      driver       = "docker"
      kill_timeout = "@stop_s@s"

      config {
        image           = "@image@"
        args            = ["run"]
        network_mode    = "host"
        pid_mode        = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        cap_add         = [@capabilities_nomad@]
        devices = [
          { host_path = "/dev/kmsg", container_path = "/dev/kmsg", cgroup_permissions = "r" },
        ]
        security_opt    = ["no-new-privileges", "apparmor=unconfined"]
        volumes = [
          "/:@host_root@:ro,rslave",
          "@state@:@state@",
        ]
      }

      env {
        SHIPPER_COLLECT_HOST_ROOT          = "@host_root@"
        SHIPPER_ELASTICSEARCH_HOSTS        = "https://elasticsearch.example:9200"
        SHIPPER_ELASTICSEARCH_API_KEY_FILE = "/secrets/api-key"
      }

      template {
        destination = "secrets/api-key"
        perms       = "400"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/shipper\" }}{{ .api_key }}{{ end }}"
      }

      resources {
        cpu        = 50
        memory     = 64
        memory_max = @memory_mib@
      }
    }
  }
}
