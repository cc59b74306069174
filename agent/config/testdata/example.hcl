# A server that runs work too. See the agent reference for everything that can be written here.
region     = "global"
datacenter = "dc1"
data_dir   = "/var/lib/proffer"

bind = "127.0.0.1"           # or {{ GetPrivateIP }}
join = ["10.0.0.1", "10.0.0.2:5052"]

encrypt = ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="] # head -c 32 /dev/urandom | base64
token   = "0123456789abcdef"

log_level = "info"
lease     = "15s"

server {
  bootstrap_expect = 3
  max_finished     = 50000

  raft {
    heartbeat_timeout = "500ms"
  }
}

client {
  meta {
    rack = "r12"
  }

  reserved {
    cpu    = 0.5
    memory = "512MiB"
  }

  reserve "eng/web" {
    cpu    = 8
    memory = "32GiB"
  }

  resources {
    custom {
      gpus = 2
    }
    ranges {
      vlans = "100-199,300"
    }
    sets {
      licences = ["matlab-1", "matlab-2"]
    }
  }

  gc {
    max_age = "12h"
  }
}
