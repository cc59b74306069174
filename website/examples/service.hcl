# Three web servers that answer with a page of their own.
job "hello" {
  type = "service"

  group "web" {
    count = 3

    network {
      port "http" {}
    }

    restart {
      attempts = 3
      delay    = "2s"
    }

    task "page" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOS
          echo "page $PROFFER_INDEX starts on port $PROFFER_PORT_http"
          while true; do echo "page $PROFFER_INDEX is well"; sleep 5; done
        EOS
        ]
      }

      resources {
        cpu    = 0.1
        memory = "32MiB"
      }
    }
  }
}
