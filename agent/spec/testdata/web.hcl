variable "image" {
  type        = string
  default     = "v1"
  description = "What is served."
}

variable "replicas" {
  default = 3
}

locals {
  name = "web-${var.image}"
  tags = ["a", "b"]
}

# A service in front of a database.
job "web" {
  role        = "eng/web"
  priority    = "batch+10"
  datacenters = ["dc1", "eu-*"]

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  meta {
    owner = "ops"
  }

  group "api" {
    count   = var.replicas
    on_lost = "wait(5m)"

    network {
      dynamic "port" {
        for_each = ["http", "admin"]
        labels   = [port.value]
        content {
          to = 8000 + port.key
        }
      }
    }

    task "server" {
      env = merge({ VERSION = var.image }, { LISTEN = "0.0.0.0:${PROFFER_PORT_http}" })

      config {
        command = "/usr/bin/env"
        args    = ["sh", "-c", "echo $${HOME} ${alloc.index} ${local.name}"]
        mount {
          source = "/srv"
          options = { ro = true }
        }
      }

      resources {
        cpu    = 0.5
        memory = "256MiB"
        custom {
          gpus = 1
        }
      }

      template {
        destination = "local/app.conf"
        data        = <<-EOF
          rack = ${meta.rack}
          {{ env "PATH" }}
        EOF
      }
    }
  }
}
