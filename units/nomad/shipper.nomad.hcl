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
      kill_timeout = "30s"

      config {
        image           = "shipper:0.1.0"
        args            = ["run"]
        network_mode    = "host"
        pid_mode        = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        cap_add         = ["dac_read_search", "sys_ptrace", "syslog"]
        devices = [
          { host_path = "/dev/kmsg", container_path = "/dev/kmsg", cgroup_permissions = "r" },
        ]
        security_opt    = ["no-new-privileges", "apparmor=unconfined"]
        volumes = [
          "/:/media/root:ro,rslave",
          "/var/lib/shipper:/var/lib/shipper",
        ]
      }

      env {
        SHIPPER_COLLECT_HOST_ROOT          = "/media/root"
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
        memory_max = 256
      }
    }
  }
}
