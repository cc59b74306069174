package operator

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// expand writes out the braces of a name.
func expand(name string) []string {
	before, rest, some := strings.Cut(name, "{")
	if !some {
		return []string{name}
	}
	inner, after, _ := strings.Cut(rest, "}")
	var out []string
	for choice := range strings.SplitSeq(inner, ",") {
		out = append(out, expand(before+choice+after)...)
	}
	return out
}

// documented are the names in the tables under a heading of the page on tools.
func documented(t *testing.T, heading string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile("../../../website/docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "\n"+heading+"\n")
	if !found {
		t.Fatalf("there is no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	out := map[string]bool{}
	for line := range strings.Lines(section) {
		row := strings.Split(line, "|")
		if len(row) < 4 || !strings.Contains(row[1], "`") {
			continue
		}
		for _, span := range regexp.MustCompile("`[^`]+`").FindAllString(row[1], -1) {
			for _, name := range expand(strings.Trim(span, "`")) {
				if out[name] {
					t.Errorf("%s names %s twice", heading, name)
				}
				out[name] = true
			}
		}
	}
	return out
}

var (
	ofRole      = regexp.MustCompile(`^(allocator/mesos/(?:quota/|offer_filters/)?roles)/[^/]+/`)
	ofFramework = regexp.MustCompile(`^master/frameworks/[^/]+/[^/]+/`)
	ofType      = regexp.MustCompile(`^(master/frameworks/NAME/ID/(?:calls|events|operations))/\w+$`)
	inRole      = regexp.MustCompile(`^(master/frameworks/NAME/ID/roles)/[^/]+/`)
	ofEnd       = regexp.MustCompile(`^master/task_\w+/source_(master|slave|executor)/reason_\w+$`)
)

// general is a name with words in the place of what differs.
func general(name string) string {
	name = ofRole.ReplaceAllString(name, "$1/ROLE/")
	name = ofFramework.ReplaceAllString(name, "master/frameworks/NAME/ID/")
	name = ofType.ReplaceAllString(name, "$1/TYPE")
	name = inRole.ReplaceAllString(name, "$1/ROLE/")
	return ofEnd.ReplaceAllString(name, "master/STATE/SOURCE/REASON")
}

func served(doc node) map[string]bool {
	out := map[string]bool{}
	for name := range doc.v.(map[string]any) {
		out[general(name)] = true
	}
	return out
}

func took() timing.Summary {
	times := &timing.Times{}
	times.Took(time.Millisecond)
	return times.Summary()
}

// Every figure that is served is in the documentation, and the other way round; and each name that tools read is one of them, or the
// documentation says why it is not.
func TestNamesOfFigures(t *testing.T) {
	r := peopled(t)
	r.must(&state.PutRole{Role: &structs.Role{Name: "eng", Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: new(structs.Milli(4000)), Memory: new(structs.Bytes(1 << 30)),
		Disk: new(structs.Bytes(1 << 30))}, Guarantee: &structs.QuotaAmount{CPU: new(structs.Milli(1000)), Memory: new(structs.Bytes(1 << 30)), Disk: new(structs.Bytes(1 << 30))}}}, Force: true})
	r.figures = server.Figures{Consensus: consensus.Figures{Commits: took()}, Steps: took(), Waits: took(), Filters: map[string]int{"eng": 1},
		Refused: map[state.TaskEnd]uint64{{State: structs.TaskError, Reason: "TASK_INVALID"}: 1},
		Offers:  []*structs.OfferStatus{{Framework: "f1", Roles: []*structs.RoleOffers{{Role: "eng"}}}}}
	s := r.servers()
	s.Counts = &mesos.Counts{}
	m := busy(t)
	m.figures.Pulls = map[string]timing.Summary{"docker": took(), "oci": took()}
	c := m.clients()
	c.Counts = &mesos.ExecutorCounts{}
	all := map[string]bool{}
	for heading, is := range map[string]map[string]bool{
		"### Of servers": served(r.tree(s, "/metrics/snapshot")),
		"### Of agents":  served(m.tree(c, "/metrics/snapshot")),
	} {
		documented := documented(t, heading)
		for name := range is {
			if all[name] = true; !documented[name] {
				t.Errorf("%s: %s is not documented", heading, name)
			}
		}
		for name := range documented {
			if !is[name] && (runtime.GOOS == "linux" || !strings.HasPrefix(name, "system/")) {
				t.Errorf("%s: %s is not served", heading, name)
			}
		}
	}
	missing := documented(t, "### What is missing")
	for name := range missing {
		if all[name] {
			t.Errorf("%s is served, and said to be missing", name)
		}
	}
	raw, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(raw)), "\n"), func(line string) bool { return strings.HasPrefix(line, "#") })
	if len(names) < 250 {
		t.Errorf("tools read %d names", len(names))
	}
	for _, name := range names {
		if !all[name] && !missing[name] && (runtime.GOOS == "linux" || !strings.HasPrefix(name, "system/")) {
			t.Errorf("tools read %s, and nothing says why it is missing", name)
		}
	}
}

// The parts of a name are those of Mesos, whatever a framework is called.
func TestNamesOfFrameworks(t *testing.T) {
	if got, want := frameworkAt(&structs.Framework{ID: "f", Name: "a/b c~é.d"}), "master/frameworks/a%2Fb%20c%7E%C3%A9.d/f/"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What is measured and counted is where it belongs, in the units of Mesos.
func TestFiguresSayWhatIs(t *testing.T) {
	r := peopled(t)
	times := &timing.Times{}
	for ms := range 100 {
		times.Took(time.Duration(ms+1) * time.Millisecond)
	}
	r.figures = server.Figures{Consensus: consensus.Figures{Commits: times.Summary(), Opened: 1500 * time.Millisecond, Voters: 3, Queued: 4, Bytes: 5}, Steps: times.Summary(),
		Passed: 2, Lost: 1, Filters: map[string]int{"eng": 7},
		Refused: map[state.TaskEnd]uint64{{State: structs.TaskDropped, Reason: "INVALID_OFFERS"}: 3},
		Offers: []*structs.OfferStatus{{Framework: "f1", Offered: 9, Accepted: 4, Declined: 3, Expired: 1, Rescinded: 1,
			Roles: []*structs.RoleOffers{{Role: "eng", Suppressed: true}}}}}
	r.slacks = map[structs.NodeID]structs.Slack{"n1": {CPU: 4000, Memory: 1 << 30}}
	doc := r.tree(r.servers(), "/metrics/snapshot")
	for name, want := range map[string]string{
		"registrar/state_store_ms": "100", "registrar/state_store_ms/count": "100", "registrar/state_store_ms/min": "1", "registrar/state_store_ms/p50": "50.5",
		"registrar/state_store_ms/max": "100", "registrar/state_fetch_ms": "1500", "registrar/queued_operations": "4", "registrar/registry_size_bytes": "5",
		"registrar/log/ensemble_size": "3", "registrar/log/recovered": "1", "allocator/mesos/allocation_runs": "100", "allocator/mesos/allocation_run_ms/p90": "90.1",
		"allocator/mesos/offer_filters/roles/eng/active": "7", "master/cpus_revocable_total": "4", "master/mem_revocable_total": "1024", "master/disk_revocable_total": "0",
		"master/messages_executor_to_framework": "3", "master/invalid_executor_to_framework_messages": "1", "master/tasks_dropped": "3",
		"master/task_dropped/source_master/reason_invalid_offers": "3",
		"master/frameworks/spark%20%22s%22/f1/offers/sent":        "9", "master/frameworks/spark%20%22s%22/f1/offers/rescinded": "2",
		"master/frameworks/spark%20%22s%22/f1/roles/eng/suppressed": "1", "master/frameworks/spark%20%22s%22/f1/tasks/active/task_running": "1",
	} {
		doc.is(name, want)
	}
	m := &machine{t: t, figures: client.Figures{Adopting: time.Second, Unread: 1, Unstarted: 2, Fetched: 3, Unfetched: 4, Cache: 5, CacheSize: 6, Folders: 7,
		FolderAge: time.Hour, Removed: 8, Unremoved: 9, Ended: 10, Preempted: 11, Tasks: map[structs.TaskStatus]int{structs.TaskFailed: 12},
		Slack: structs.Slack{CPU: 500}, Pulls: map[string]timing.Summary{"oci": times.Summary()}}}
	node := m.tree(m.clients(), "/metrics/snapshot")
	for name, want := range map[string]string{
		"slave/recovery_time_secs": "1", "slave/recovery_errors": "1", "slave/container_launch_errors": "2", "containerizer/fetcher/task_fetches_succeeded": "3",
		"containerizer/fetcher/task_fetches_failed": "4", "containerizer/fetcher/cache_size_used_bytes": "5", "containerizer/fetcher/cache_size_total_bytes": "6",
		"gc/path_removals_pending": "7", "slave/executor_directory_max_allowed_age_secs": "3600", "gc/path_removals_succeeded": "8", "gc/path_removals_failed": "9",
		"slave/executors_terminated": "10", "slave/executors_preempted": "11", "slave/tasks_failed": "12", "slave/cpus_revocable_total": "0.5",
		"containerizer/mesos/provisioner/docker_store/image_pull_ms/max": "100",
	} {
		node.is(name, want)
	}
}
