# Four pieces of work that end by themselves.
job "sums" {
  type = "batch"

  group "piece" {
    count = 4

    task "sum" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "i=0; n=0; while [ $i -lt 1000 ]; do i=$((i+1)); n=$((n+i)); done; echo piece $PROFFER_INDEX: $n"]
      }

      resources {
        cpu    = 0.1
        memory = "32MiB"
      }
    }
  }
}
