package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

const testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// write makes files in a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func parse(t *testing.T, args ...string) (*Config, *Sources, error) {
	t.Helper()
	set := flag.NewFlagSet("agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	f := Bind(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Config()
}

func TestExample(t *testing.T) {
	c, s, err := parse(t, "-config", "testdata/example.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsServer() || !c.IsClient() || c.Server.BootstrapExpect != 3 || c.Client.Meta["rack"] != "r12" {
		t.Errorf("read as %s", c)
	}
	want := structs.Resources{
		Custom: map[string]structs.Milli{"gpus": 2000},
		Ranges: map[string][]structs.Range{"vlans": {{First: 100, Last: 199}, {First: 300, Last: 300}}},
		Sets:   map[string][]string{"licences": {"matlab-1", "matlab-2"}},
	}
	if got := c.Client.Resources.Amount(); !reflect.DeepEqual(got, want) {
		t.Errorf("resources %v", got)
	}
	if got := c.Client.Reserved.Amount(); got.CPU != 500 || got.Memory != 512<<20 {
		t.Errorf("reserved %v", got)
	}
	if c.Advertise != "127.0.0.1:5052" || c.HTTPListen() != "127.0.0.1:5050" || c.ExecutorListen() != "127.0.0.1:5051" {
		t.Errorf("addresses %s %s %s", c.Advertise, c.HTTPListen(), c.ExecutorListen())
	}
	if got := s.Values.At("client.gc.max_age"); got != "testdata/example.hcl:52" {
		t.Errorf("max_age is from %q", got)
	}
	if got := c.Client.ReservedFor()["eng/web"]; len(c.Client.Reserve) != 1 || got == nil || got.CPU != 8000 || got.Memory != 32<<30 {
		t.Errorf("reserved for roles %v", c.Client.ReservedFor())
	}
	if keys := c.Keys(); len(keys) != 1 || string(keys[0]) != "0123456789abcdef0123456789abcdef" {
		t.Errorf("keys %v", keys)
	}
}

func TestMerge(t *testing.T) {
	dir := write(t, map[string]string{
		"10-base.hcl": `
			data_dir = "/var/lib/proffer"
			encrypt  = ["` + testKey + `"]
			bind     = "127.0.0.1"
			join     = ["a", "b"]
			http_port = 6000
			client {
				meta = { rack = "r1", zone = "z1" }
				reserved {
					cpu = 1
					memory = "1GiB"
				}
			}`,
		"20-site.json":   `{"join": ["c"], "client": {"meta": {"rack": "r2"}, "reserved": {"cpu": 2}}, "http_port": 6001}`,
		".30-hidden.hcl": `nonsense`,
		"notes.txt":      `nonsense`,
	})
	other := write(t, map[string]string{"last.hcl": `log_level = "warn"`})
	c, s, err := parse(t, "-config", dir, "-config", filepath.Join(other, "last.hcl"), "-http-port", "7000", "-node-name=n1")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %v %v %v %v", c.Join, c.Client.Meta, c.HTTPPort, c.LogLevel, c.NodeName); got != "[c] map[rack:r2 zone:z1] 7000 warn n1" {
		t.Error(got)
	}
	if r := c.Client.Reserved.Amount(); r.CPU != 2000 || r.Memory != 1<<30 {
		t.Errorf("reserved %v", r)
	}
	if len(s.Files) != 3 || s.Values.At("http_port") != "-http-port" || s.Values.At("client.meta.rack") != filepath.Join(dir, "20-site.json")+":1" {
		t.Errorf("sources %v, %q, %q", s.Files, s.Values.At("http_port"), s.Values.At("client.meta.rack"))
	}
	if c.IsServer() || !c.IsClient() {
		t.Error("a client block makes a client and nothing else")
	}
}

func TestModes(t *testing.T) {
	file := filepath.Join(write(t, map[string]string{"a.hcl": `data_dir = "/var/lib/p"
		encrypt = ["` + testKey + `"]
		bind = "127.0.0.9"`}), "a.hcl")
	for _, x := range []struct {
		args           string
		server, client bool
	}{
		{"-dev", true, true},
		{"-dev -bootstrap-expect=1", true, true},
		{"-dev -client=false", true, false},
		{"-dev -http-port=1234 -log-json", true, true},
		{"-server -config FILE", true, false},
		{"-client -config FILE", false, true},
		{"-client -bootstrap-expect=3 -config FILE", false, true},
		{"-server -client -config FILE", true, true},
	} {
		c, _, err := parse(t, strings.Fields(strings.ReplaceAll(x.args, "FILE", file))...)
		if err != nil {
			t.Errorf("%s: %v", x.args, err)
			continue
		}
		if c.IsServer() != x.server || c.IsClient() != x.client {
			t.Errorf("%s: server %v, client %v", x.args, c.IsServer(), c.IsClient())
		}
		if c.HTTPAddress != c.Bind {
			t.Errorf("%s: the API is on %s, the cluster port on %s", x.args, c.HTTPAddress, c.Bind)
		}
		if c.Dev && (c.Bind != "127.0.0.1" || !c.Client.IsolationNone || c.Server.BootstrapExpect != 1) {
			t.Errorf("%s: %s", x.args, c)
		}
		if want := map[bool]int{true: 100, false: 85}[c.Dev]; c.IsClient() && c.Client.GC.DiskUse != want {
			t.Errorf("%s: ended allocations are removed when the disk is %d%% full", x.args, c.Client.GC.DiskUse)
		}
	}
}

// What an operator sees. DIR stands for the folder of the files.
// Executors prove nothing: their port is not opened to other machines because the API is.
func TestExecutorsAreOnTheNode(t *testing.T) {
	for _, x := range []struct{ lines, want string }{
		{`bind = "127.0.0.9"`, "127.0.0.9"},
		{`http_address = "0.0.0.0"
			token = "0123456789abcdef0123456789abcdef"`, "127.0.0.1"},
		{`http_address = "0.0.0.0"
			executor_address = "0.0.0.0"
			token = "0123456789abcdef0123456789abcdef"`, "0.0.0.0"},
	} {
		file := filepath.Join(write(t, map[string]string{"a.hcl": `data_dir = "/var/lib/p"
			encrypt = ["` + testKey + `"]
			` + x.lines}), "a.hcl")
		c, _, err := parse(t, "-client", "-config", file)
		if err != nil || c.ExecutorAddress != x.want {
			t.Errorf("%s: %v, %v", x.lines, c.ExecutorAddress, err)
		}
	}
}

func TestErrors(t *testing.T) {
	const valid = "data_dir = \"/var/lib/proffer\"\nencrypt = [\"" + testKey + "\"]\nbind = \"127.0.0.1\"\nclient {}\n"
	for _, x := range []struct{ name, text, want string }{
		{"unknown key", valid + "htp_port = 1\n", `DIR/a.hcl:5: htp_port: there is no "htp_port" here (did you mean "http_port"?)`},
		{"unknown block", valid + "sever {}\n", `DIR/a.hcl:5: sever: there is no block "sever" here (did you mean "server"?)`},
		{"nested", valid + "server {\n  raft {\n    hartbeat_timeout = \"1s\"\n  }\n}\n",
			`DIR/a.hcl:7: server.raft.hartbeat_timeout: there is no "hartbeat_timeout" here (did you mean "heartbeat_timeout"?)`},
		{"type", valid + "http_port = \"http\"\n", `DIR/a.hcl:5: http_port: "http" is not a whole number`},
		{"duration", valid + "lease = 15\n", `DIR/a.hcl:5: lease: 15 is not a duration such as "30s"`},
		{"range", valid + "lease = \"1h\"\n", `DIR/a.hcl:5: lease: 1h is out of range (1s to 10m)`},
		{"syntax", "region = \n", `DIR/a.hcl:1: expected the start of an expression, but found an invalid expression token`},
		{"no key", "data_dir = \"/var/lib/proffer\"\nbind = \"127.0.0.1\"\nclient {}\n",
			`encrypt: the cluster port needs a key, the same on every agent of the region (make one with: head -c 32 /dev/urandom | base64)`},
		{"bad key", strings.Replace(valid, testKey, "c2hvcnQ=", 1), `DIR/a.hcl:2: encrypt[0]: it is not base64 of 32 bytes (make one with: head -c 32 /dev/urandom | base64)`},
		{"open API", valid + "http_address = \"0.0.0.0\"\n",
			`DIR/a.hcl:5: http_address: 0.0.0.0 can be reached by other machines, and there is no token (set token or token_file, or use a loopback address)`},
		{"several", valid + "region = \"a b\"\nlog_level = \"WARN\"\ncluster_port = 5050\n", `3 problems:
  DIR/a.hcl:5: region: "a b" is not a name (up to 128 letters, digits, - _ and ., a letter or digit first)
  DIR/a.hcl:6: log_level: "WARN" is not debug, info, warn or error (did you mean "warn"?)
  DIR/a.hcl:7: cluster_port: port 5050 is taken by http_port`},
		{"template", strings.Replace(valid, `"127.0.0.1"`, `"{{ GetPrivatIP }}"`, 1),
			`DIR/a.hcl:3: bind: "{{ GetPrivatIP }}" is not a template: address:1: function "GetPrivatIP" not defined`},
		{"address", strings.Replace(valid, `"127.0.0.1"`, `"eth0"`, 1),
			`DIR/a.hcl:3: bind: "eth0" is not an IP address (such as 10.0.0.5, or a template such as {{ GetPrivateIP }})`},
		{"token", valid + "token = \"short\"\n",
			`DIR/a.hcl:5: token: it has 5 characters (16 to 1024; make one with: head -c 24 /dev/urandom | base64)`},
		{"token file", valid + "token_file = \"DIR/absent\"\n", `DIR/a.hcl:5: token_file: DIR/absent cannot be read: no such file or directory`},
		{"share of ports", valid + "server {\n  fair_share_exclude = [\"gpus\", \"ports\"]\n}\n",
			`DIR/a.hcl:6: server.fair_share_exclude[1]: "ports" is not a resource that counts in shares (cpu, memory, disk, or the name of a custom resource, such as gpus)`},
		{"even", valid + "server {\n  bootstrap_expect = 2\n}\n",
			`DIR/a.hcl:6: server.bootstrap_expect: 2 servers (1, 3, 5 or 7: an even number survives no more failures than one less)`},
		{"unit", strings.Replace(valid, "client {}", "client {\n  reserved {\n    memory = 512\n  }\n}", 1),
			`DIR/a.hcl:6: client.reserved.memory: 512B is less than 1MiB (a bare number is bytes; write a unit, such as "512MiB")`},
		{"reserved for no role", strings.Replace(valid, "client {}", "client {\n  reserve \"eng//web\" {\n    cpu = 1\n  }\n}", 1),
			`DIR/a.hcl:5: client.reserve.eng//web: "eng//web" is not a valid role (use up to eight names joined by slashes)`},
		{"reserves ports of others", strings.Replace(valid, "client {}", "client {\n  port_range = \"31000-31999\"\n  reserve \"eng\" {\n    ports = \"31000-31009,80\"\n  }\n}", 1),
			`DIR/a.hcl:7: client.reserve.eng.ports: ports [80-80] are not in client.port_range`},
		{"reserves no range", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {\n    ports = \"http\"\n  }\n}", 1),
			`DIR/a.hcl:6: client.reserve.eng.ports: ports: "http" is not a range such as 20000-32000`},
		{"ports as a range", strings.Replace(valid, "client {}", "client {\n  resources {\n    ranges = { ports = \"1-9\" }\n  }\n}", 1),
			`DIR/a.hcl:6: client.resources.ranges.ports: ports are no custom range (client.port_range says which ports tasks get)`},
		{"reserves nothing", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {}\n}", 1),
			`DIR/a.hcl:5: client.reserve.eng: nothing is reserved`},
		{"reserves twice", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {\n    cpu = 1\n  }\n  reserve \"eng\" {\n    cpu = 1\n  }\n}", 1),
			`DIR/a.hcl:8: client.reserve.eng: the role has two blocks`},
		{"reserves less than nothing", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {\n    cpu = -1\n  }\n}", 1),
			`DIR/a.hcl:6: client.reserve.eng.cpu: "-1" is negative`},
		{"reserves too much", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {\n    memory = \"8PiB\"\n  }\n}", 1),
			`DIR/a.hcl:5: client.reserve.eng: an amount is out of range (memory up to 4PiB, disk up to 256PiB)`},
		{"reserves bytes", strings.Replace(valid, "client {}", "client {\n  reserve \"eng\" {\n    memory = 32\n  }\n}", 1),
			`DIR/a.hcl:6: client.reserve.eng.memory: 32B is less than 1MiB (a bare number is bytes; write a unit, such as "512MiB")`},
		{"health check without a path", strings.Replace(valid, "client {}", "client {\n  health \"disks\" {\n    command = [\"check\"]\n  }\n}", 1),
			`DIR/a.hcl:6: client.health.disks.command: it must be a program with its whole path, and its arguments (write command = ["/usr/local/bin/check-disks"])`},
		{"raw disk at a path", strings.Replace(valid, "client {}", "client {\n  disk \"fast\" {\n    type = \"raw\"\n    path = \"/mnt\"\n    plugin = \"lvm\"\n    size = \"10GiB\"\n  }\n}", 1),
			`DIR/a.hcl:7: client.disk.fast.path: a raw disk is what its plugin has, and at no path (leave path out)`},
		{"raw disk of no size", strings.Replace(valid, "client {}", "client {\n  disk \"fast\" {\n    type = \"raw\"\n    plugin = \"lvm\"\n  }\n}", 1),
			`DIR/a.hcl:5: client.disk.fast.size: 0B is out of range (1MiB to 1PiB) (say how much of the storage may be made into disks)`},
		{"raw disk of no plugin", strings.Replace(valid, "client {}", "client {\n  disk \"fast\" {\n    type = \"raw\"\n    size = \"10GiB\"\n  }\n}", 1),
			`DIR/a.hcl:5: client.disk.fast.plugin: "" is not the name of a plugin (it is the id of a csi_plugin block)`},
		{"plugin of a folder", strings.Replace(valid, "client {}", "client {\n  disk \"fast\" {\n    type = \"path\"\n    path = \"/mnt\"\n    plugin = \"lvm\"\n  }\n}", 1),
			`DIR/a.hcl:5: client.disk.fast: plugin, size, fs_type and parameters are of raw disks (leave them out, or set type = "raw")`},
		{"nothing to do", strings.Replace(valid, "client {}", "", 1),
			`this agent would be neither server nor client (give -dev, -server or -client, or write a server or client block)`},
		{"data folder", strings.Replace(valid, `"/var/lib/proffer"`, `"data"`, 1), `DIR/a.hcl:1: data_dir: "data" is not absolute`},
		{"ports of tasks", valid + "http_port = 20001\n",
			`DIR/a.hcl:5: http_port: port 20001 is in client.port_range (20000-32000), which is given to tasks`},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			text := strings.ReplaceAll(x.text, "DIR", filepath.ToSlash(dir))
			if err := os.WriteFile(filepath.Join(dir, "a.hcl"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := parse(t, "-config", dir)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			if got != x.want {
				t.Errorf("got\n%s\nwant\n%s", got, x.want)
			}
			if structs.KindOf(err) != structs.Invalid {
				t.Errorf("kind %s", structs.KindOf(err))
			}
		})
	}
}

func TestJSONErrors(t *testing.T) {
	dir := write(t, map[string]string{"a.json": "{\n  \"region\": \"r\",\n  \"server\": {\n    \"bootstrap_expct\": 1\n  },\n  \"http_port\": \"5050\"\n}\n"})
	_, _, err := parse(t, "-config", dir)
	want := `2 problems:
  DIR/a.json:4: server.bootstrap_expct: there is no "bootstrap_expct" here (did you mean "bootstrap_expect"?)
  DIR/a.json:6: http_port: "5050" is not a whole number`
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
		t.Errorf("got %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	_, _, err := parse(t, "-config", filepath.Join(t.TempDir(), "absent.hcl"))
	if err == nil || !strings.Contains(err.Error(), "absent.hcl: cannot be read: no such file or directory") {
		t.Errorf("got %v", err)
	}
}

func TestFlagErrors(t *testing.T) {
	_, _, err := parse(t, "-dev", "-http-port=99999", "-region=a/b")
	want := `2 problems:
  -http-port: http_port: 99999 is not a port (1 to 65535)
  -region: region: "a/b" is not a name (up to 128 letters, digits, - _ and ., a letter or digit first)`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	set := flag.NewFlagSet("agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	Bind(set)
	if err := set.Parse([]string{"-http-port=http"}); err == nil || !strings.Contains(err.Error(), `"http" is not a whole number`) {
		t.Errorf("got %v", err)
	}
}

func TestEveryFlag(t *testing.T) {
	set := flag.NewFlagSet("agent", flag.ContinueOnError)
	Bind(set)
	var names []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	want := strings.Fields(`advertise bind bootstrap-expect client cluster-port config data-dir datacenter dev executor-port
		http-port join log-json log-level node-name region server`)
	if !slices.Equal(names, want) {
		t.Errorf("flags %v", names)
	}
	c, _, err := parse(t, "-dev", "-node-name", "n", "-data-dir", "x", "-advertise", "127.0.0.7:99", "-join", "a,b", "-join", "c",
		"-region", "r", "-datacenter", "d", "-http-port", "1", "-cluster-port", "2", "-executor-port", "3", "-log-level", "debug",
		"-log-json", "-bind", "127.0.0.7")
	if err != nil {
		t.Fatal(err)
	}
	abs, _ := filepath.Abs("x")
	got := fmt.Sprint(c.NodeName, c.DataDir == abs, c.Advertise, c.Join, c.Region, c.Datacenter, c.HTTPPort, c.ClusterPort, c.ExecutorPort, c.LogLevel, c.LogJSON, c.Bind)
	if want := "ntrue127.0.0.7:99[a b c]rd123debugtrue127.0.0.7"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got %s", got)
	}
}

// No way of printing gives a secret away.
func TestSecrets(t *testing.T) {
	const token = "token-0123456789"
	c := &Config{Token: token, Encrypt: []Secret{testKey}}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configuration", "config", c, "token", c.Token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("configuration", "config", c, "token", c.Token)
	for _, text := range []string{string(raw), c.String(), log.String(), fmt.Sprintf("%v %+v %#v %s %q %x", c.Token, *c, c, c.Token, c.Token, c.Token)} {
		if strings.Contains(text, token) || strings.Contains(text, testKey) || strings.Contains(text, fmt.Sprintf("%x", token)) {
			t.Errorf("a secret in %s", text)
		}
	}
	if c.Token.Reveal() != token {
		t.Error("Reveal does not")
	}
	// Nor does an error about one.
	for _, wrong := range []string{"encrypt = [\"hunter2\"]\ntoken = \"hunter2\"", "encrypt = \"hunter2\"", "token = [\"hunter2\"]",
		"encrypt = [[\"hunter2\"]]", "encrypt = { key = \"hunter2\" }", "encrypt = [12345678]", "token = 12345678"} {
		dir := write(t, map[string]string{"a.hcl": "data_dir = \"/d\"\nbind = \"127.0.0.1\"\nclient {}\n" + wrong + "\n"})
		if _, _, err := parse(t, "-config", dir); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "12345678") {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := write(t, map[string]string{"token": "token-0123456789\n", "keys": testKey + "\n" + testKey + "\n"})
	conf := filepath.Join(write(t, map[string]string{"a.hcl": `
		data_dir = "/d"
		bind = "127.0.0.1"
		client {}
		token_file = "` + filepath.ToSlash(filepath.Join(dir, "token")) + `"
		encrypt_file = "` + filepath.ToSlash(filepath.Join(dir, "keys")) + `"`}), "a.hcl")
	c, _, err := parse(t, "-config", conf)
	if err != nil {
		t.Fatal(err)
	}
	if c.Token != "token-0123456789" || len(c.Keys()) != 2 {
		t.Errorf("token %q, %d keys", c.Token.Reveal(), len(c.Keys()))
	}
}

func TestReloadable(t *testing.T) {
	read := func(text string) *Config {
		dir := write(t, map[string]string{"a.hcl": text})
		c, _, err := parse(t, "-config", dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const base = "data_dir = \"/d\"\nbind = \"127.0.0.1\"\nencrypt = [\"" + testKey + "\"]\n"
	old := read(base + `client {
			meta { rack = "r1" }
		}
		token = "token-0123456789"`)
	new := read(base + `client {
			meta { rack = "r2" }
			gc { max_age = "1h" }
			isolation_none = true
		}
		token = "token-9876543210"
		log_level = "debug"
		http_port = 6000`)
	changed, restart := Reloadable(old, new)
	slices.Sort(changed)
	slices.Sort(restart)
	if got := fmt.Sprint(changed, restart); got != "[client.gc.max_age client.meta.rack log_level token] [client.isolation_none http_port]" {
		t.Error(got)
	}
	if changed, restart := Reloadable(old, old); changed != nil || restart != nil {
		t.Errorf("nothing changed, but %v %v", changed, restart)
	}
}

// Every field is documented, and every "Default X." is what Finish sets.
func TestReference(t *testing.T) {
	c := &Config{Server: &Server{}, Client: &Client{Health: []*HealthCheck{{Name: "h", Command: []string{"/bin/true"}}}}, DataDir: "/d", Encrypt: []Secret{testKey}}
	if err := c.Finish(nil); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	rows := spec.Reference(c)
	if len(rows) < 60 {
		t.Errorf("%d rows", len(rows))
	}
	for _, row := range rows {
		if row.Doc == "" {
			t.Errorf("%s.%s has no doc", row.Path, row.Name)
		}
		_, after, ok := strings.Cut(row.Doc, "Default ")
		if !ok {
			continue
		}
		want, _, _ := strings.Cut(after+" ", ". ")
		want = strings.TrimRight(strings.Fields(want)[0], ".;")
		if strings.HasPrefix(want, "0.0.0.0") {
			want = "0.0.0.0"
		}
		var v any = tree
		for _, step := range strings.Split(strings.Trim(row.Path+"."+row.Name, "."), ".") {
			if list, ok := v.([]any); ok {
				v = list[0]
			}
			m, _ := v.(map[string]any)
			v = m[step]
		}
		got := fmt.Sprint(v)
		if f, ok := v.(float64); ok {
			got = strconv.FormatFloat(f, 'f', -1, 64)
		}
		if got != want {
			t.Errorf("%s.%s: documented %s, set to %s", row.Path, row.Name, want, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{"127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{`{{ "fd00::2 10.1.2.3" }}`, "10.1.2.3"}, // IPv4 is preferred
		{`{{ "fd00::2" }}`, "fd00::2"},
		{`{{ GetAllInterfaces | include "flags" "loopback" | include "type" "ipv4" | join "address" " " }}`, "127.0.0.1"},
	} {
		got, err := resolve(x.in)
		if err != nil || got.String() != x.want {
			t.Errorf("%s: %v, %v", x.in, got, err)
		}
	}
	for _, in := range []string{"", "host", "10.0.0.1:5052", "{{ ", `{{ "" }}`, `{{ "x" }}`} {
		if got, err := resolve(in); err == nil {
			t.Errorf("%q gives %v", in, got)
		}
	}
	for _, x := range []struct{ in, want string }{
		{"10.0.0.1", "10.0.0.1:5052"}, {"10.0.0.1:77", "10.0.0.1:77"}, {"fd00::1", "[fd00::1]:5052"}, {"[fd00::1]:9", "[fd00::1]:9"},
		{`{{ "10.2.2.2" }}:80`, "10.2.2.2:80"},
	} {
		if got, _, err := resolvePort(x.in, 5052); err != nil || got != x.want {
			t.Errorf("%s: %v, %v", x.in, got, err)
		}
	}
	for _, in := range []string{"10.0.0.1:0", "10.0.0.1:x", "10.0.0.1:70000"} {
		if got, _, err := resolvePort(in, 5052); err == nil {
			t.Errorf("%q gives %v", in, got)
		}
	}
}

func TestWithoutDefaults(t *testing.T) {
	c := &Config{Dev: true, Lease: structs.Duration(time.Minute)}
	if err := c.Finish(nil); err != nil {
		t.Fatal(err)
	}
	if c.Lease.Std() != time.Minute {
		t.Error("a default replaced a value")
	}
	before := c.String()
	if err := c.Finish(nil); err != nil || c.String() != before {
		t.Errorf("Finish twice: %v\n%s\n%s", err, before, c)
	}
}
