package operator

import (
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/structs"
)

// metrics computes what is on the node now, and what it counted and measured, by the names of Mesos.
func (l *local) metrics(registered bool, asked structs.Time, is client.Figures) figures {
	f := figures{"slave/uptime_secs": asked.Sub(l.self.Started).Std().Seconds(), "slave/registered": flag(registered)}
	count := tally{}
	var frameworks, registering, running, terminating, images float64
	for _, x := range l.frameworks {
		if x.live() {
			frameworks++
		}
	}
	var booked structs.Resources
	var revocable structs.Slack
	for i := range l.known {
		k := &l.known[i]
		if k.Ended != 0 {
			continue
		}
		switch a := k.Alloc; {
		case a.Desired == structs.DesiredStop:
			terminating++
		case a.Status == structs.AllocPending:
			registering++
		default:
			running++
		}
		booked, revocable = booked.Add(k.Alloc.Booked()), revocable.Add(k.Alloc.OfSlack())
		l.tasks(k.Alloc, func(t *task) bool {
			count[t.state]++
			return true
		})
		images += float64(imaged(k))
	}
	f["slave/frameworks_active"] = frameworks
	f["slave/executors_registering"], f["slave/executors_running"], f["slave/executors_terminating"] = registering, running, terminating
	f["containerizer/mesos/filesystem/containers_new_rootfs"] = images
	f.share("slave/", l.node.Available(), booked)
	f.revocable("slave/", is.Slack, revocable)
	f.tally("slave/", count)
	f.counted(is)
	f.system()
	return f
}

// imaged says how many tasks of an allocation run in an image that the node itself unpacked.
func imaged(k *client.Known) (n int) {
	if k.Job == nil {
		return 0
	}
	g := k.Job.Job.Group(k.Alloc.Group)
	if g == nil {
		return 0
	}
	for _, t := range g.Tasks {
		if s := k.Alloc.Tasks[t.Name]; t.Driver == "oci" && s != nil && s.Status == structs.TaskRunning {
			n++
		}
	}
	return n
}

// counted adds what a client counted and measured since it began.
func (f figures) counted(is client.Figures) {
	for status, n := range is.Tasks {
		f["slave/tasks_"+short(status)] += float64(n)
	}
	f["slave/executors_terminated"], f["slave/executors_preempted"] = float64(is.Ended), float64(is.Preempted)
	f["slave/container_launch_errors"] = float64(is.Unstarted)
	f["slave/recovery_errors"], f["slave/recovery_time_secs"] = float64(is.Unread), is.Adopting.Seconds()
	f["slave/executor_directory_max_allowed_age_secs"] = is.FolderAge.Seconds()
	f["gc/path_removals_pending"], f["gc/path_removals_succeeded"], f["gc/path_removals_failed"] = float64(is.Folders), float64(is.Removed), float64(is.Unremoved)
	f["containerizer/fetcher/task_fetches_succeeded"], f["containerizer/fetcher/task_fetches_failed"] = float64(is.Fetched), float64(is.Unfetched)
	f["containerizer/fetcher/cache_size_total_bytes"], f["containerizer/fetcher/cache_size_used_bytes"] = float64(is.CacheSize), float64(is.Cache)
	f.timer("containerizer/docker/image_pull_ms", is.Pulls["docker"])
	f.timer("containerizer/mesos/provisioner/docker_store/image_pull_ms", is.Pulls["oci"])
}

// executors adds what came of executors, and for them.
func (f figures) executors(counts *mesos.ExecutorCounts) {
	if counts == nil {
		return
	}
	taken, refused := counts.Updates()
	f["slave/valid_status_updates"], f["slave/invalid_status_updates"] = float64(taken), float64(refused)
	taken, refused = counts.Messages()
	f["slave/valid_framework_messages"], f["slave/invalid_framework_messages"] = float64(taken), float64(refused)
}
