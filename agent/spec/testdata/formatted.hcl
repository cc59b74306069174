job "all" {
  type        = "batch"
  datacenters = ["dc1", "eu-*"]

  constraint {
    attribute = "${attr.kernel.name}"
    operator  = "regexp"
    value     = "^linux$"
  }

  meta {
    owner = "ops"
    x     = ""
  }

  group "g" {
    count            = 0
    max_run_duration = "1h30m"

    restart {
      attempts = 0
    }

    task "t" {
      kill_timeout = "500ms"
      env = {
        "a.b" = "1"
        c     = "$${HOME}"
      }

      config {
        args    = ["-c", "echo \"${PROFFER_PORT_http}\"\n", 1.5, true, null]
        command = "/bin/sh"
        mount = {
          source = "/srv"
        }
      }

      resources {
        cpu    = 0.25
        memory = "1GiB"

        custom {
          gpus = 2
        }
      }

      template {
        destination = "local/x"
        data = <<EOT
{{ env "A" }}
$${B}
EOT
        perms = "0600"
      }
    }
  }
}
