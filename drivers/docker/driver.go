// Package docker runs tasks as containers of a Docker engine, over the engine's API. See DESIGN.md.
package docker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// Options are the node's configuration of the driver. It is not changed once a driver has it.
type Options struct {
	Endpoint string // unix:///var/run/docker.sock, or tcp://host:port; empty: the former
	CAFile   string // with TLS: who signed the engine's certificate; empty: the system's
	CertFile string // with TLS: this node's certificate
	KeyFile  string
	Owner    string // names the node among those that share an engine: only containers of its own are removed
	Folder   string // of the driver's own records; empty: they are not kept

	Privileged    bool     // tasks may ask for all that the engine can do
	Volumes       bool     // tasks may use named volumes of the engine
	VolumeDrivers []string // of the engine whose volumes they may use; with "local" they may give that one options
	HostPaths     []string // that tasks may mount, with what is below them
	Devices       []string // likewise
	Capabilities  []string // beyond the usual ones, without CAP_; ALL: all
	Runtimes      []string // that tasks may choose
	LogDrivers    []string // likewise

	Profiles *seccomp.Profiles // that tasks may name; nil: none

	CallTimeout time.Duration // of one call to the engine; 0: 30 s
	PullStall   time.Duration // a pull without progress for this long has failed; 0: 2 min
	Registries  map[string]*Credentials
	AuthFile    string // as docker login writes it; empty: none

	ImageAge  time.Duration // images that the node pulled and did not use for this long are removed; 0: never
	ImageDisk int           // percent of the engine's disk above which unused ones go earlier; 0: never
	KeepEvery time.Duration // how often is looked for containers and images to remove; 0: 30 s

	Logger *slog.Logger
}

// Credentials are what a registry asks for.
type Credentials struct {
	Username, Password string
	Token              string // instead of them: an identity token
}

const healthLimit = 5 * time.Second

// Driver runs containers. It implements drivers.Driver.
type Driver struct {
	opts   Options
	engine *engine
	images *images
	log    *slog.Logger

	running context.Context // ends with Close
	stop    context.CancelFunc
	ending  sync.Mutex     // held while running ends, and while work begins
	work    sync.WaitGroup // of outputs and pulls

	nvidia  atomic.Bool // the engine has NVIDIA's runtime, as last seen
	pins    pins
	roots   roots
	mu      sync.Mutex
	outputs map[string]*output // by container

	sandboxes flight.Turns // of allocations
}

var (
	_ drivers.Driver   = (*Driver)(nil)
	_ drivers.Rooted   = (*Driver)(nil)
	_ drivers.Preparer = (*Driver)(nil)
	_ drivers.Sweeper  = (*Driver)(nil)
	_ drivers.Keeper   = (*Driver)(nil)
	_ drivers.Pinner   = (*Driver)(nil)

	_ drivers.Sandboxer = (*Driver)(nil)
)

// New makes a driver. It does not connect.
func New(opts Options) *Driver {
	if opts.Endpoint == "" {
		opts.Endpoint = client.DefaultDockerHost
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = 30 * time.Second
	}
	if opts.PullStall <= 0 {
		opts.PullStall = 2 * time.Minute
	}
	if opts.KeepEvery <= 0 {
		opts.KeepEvery = 30 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Driver{opts: opts, log: opts.Logger, outputs: make(map[string]*output), pins: pins{news: make(chan struct{}, 1)}}
	d.running, d.stop = context.WithCancel(context.Background())
	d.engine = &engine{opts: &d.opts}
	d.images = newImages(d)
	return d
}

// Close ends what the driver does by itself; containers run on.
func (d *Driver) Close() {
	d.ending.Lock()
	d.stop()
	d.ending.Unlock()
	d.work.Wait()
	d.engine.close()
}

// begin runs f in a goroutine that Close waits for. False: the driver is closed.
func (d *Driver) begin(f func()) bool {
	d.ending.Lock()
	defer d.ending.Unlock()
	if d.running.Err() != nil {
		return false
	}
	d.work.Go(f)
	return true
}

// Name is "docker".
func (*Driver) Name() string { return "docker" }

// Validate checks a task's config. It needs no node: (*Driver)(nil).Validate works.
func (*Driver) Validate(object string, config map[string]any) error {
	_, err := parse(object, config)
	return err
}

// Fingerprint asks the engine how it is.
func (d *Driver) Fingerprint(ctx context.Context) *structs.Driver {
	ctx, cancel := context.WithTimeoutCause(ctx, min(healthLimit, d.opts.CallTimeout), errSlow)
	defer cancel()
	err := d.engine.renew(ctx)
	var info client.SystemInfoResult
	if err == nil {
		err = d.engine.look(ctx, d.engine.name(), "ask how it is", func(ctx context.Context, api *client.Client) (err error) {
			info, err = api.Info(ctx, client.InfoOptions{})
			return err
		})
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			return &structs.Driver{Why: "the engine at " + d.opts.Endpoint + " does not answer"}
		}
		return &structs.Driver{Why: d.engine.explain(ctx, ctx, d.engine.name(), "connect", structs.Unavailable, err).Error()}
	}
	i := &info.Info
	d.images.see(i.DockerRootDir)
	d.roots.see(i)
	d.engine.folder.Store(i.DockerRootDir)
	attrs := map[string]string{
		"version": i.ServerVersion, "storage": i.Driver, "cgroups": i.CgroupVersion, "arch": i.Architecture,
		"live_restore": yes(i.LiveRestoreEnabled), "privileged": yes(d.opts.Privileged), "volumes": yes(d.opts.Volumes),
	}
	d.offers(i, attrs)
	if i.OSType != "linux" {
		return &structs.Driver{Why: "the engine runs containers of " + i.OSType + ", not of linux", Attributes: attrs}
	}
	_, nvidia := i.Runtimes["nvidia"]
	d.nvidia.Store(nvidia)
	if slices.ContainsFunc(i.SecurityOptions, func(o string) bool { return strings.HasPrefix(o, "name=seccomp") }) {
		d.opts.Profiles.Tell(attrs)
	}
	for name := range i.Runtimes {
		attrs["runtime."+name] = "1"
	}
	return &structs.Driver{Healthy: true, Attributes: attrs, Images: d.images.list(ctx)}
}

func yes(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// View says where a container sees its folders.
func (*Driver) View(context.Context, *structs.Task) (drivers.View, error) {
	return drivers.View{Shared: "/alloc", Task: "/", Image: true}, nil
}

// Prepare gets the image of a task.
func (d *Driver) Prepare(ctx context.Context, spec *drivers.Spec) error {
	c, err := d.config(spec)
	if err != nil {
		return err
	}
	_, err = d.images.get(ctx, c.wish(c.forcePull), spec.Say)
	return err
}

// Unfenced is why on_lost = "fence" is refused.
const Unfenced = "nobody ends a container while the agent is down"

// config reads the config of a task that is to run here.
func (d *Driver) config(spec *drivers.Spec) (*config, error) {
	c, err := parse("task "+spec.ID+".config", spec.Task.Config)
	if err != nil {
		return nil, err
	}
	if spec.Fence != nil {
		return nil, structs.Errorf(structs.Forbidden, "task "+spec.ID, `on_lost = "fence" cannot be kept by the docker driver: `+Unfenced).
			Advise(`use driver = "exec", or another on_lost`)
	}
	return c, d.permit(c, spec)
}

// Start starts a container and returns once it runs.
func (d *Driver) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	c, err := d.config(spec)
	if err != nil {
		return nil, err
	}
	image, err := d.images.get(ctx, c.wish(false), spec.Say)
	if err != nil {
		return nil, err
	}
	id, err := d.create(ctx, spec, c, image)
	if err != nil {
		return nil, err
	}
	t := &task{d: d, id: id, spec: spec.ID}
	begin(spec, id)
	err = d.engine.act(ctx, t.object(), "start its container", func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
	if err == nil {
		t.out = d.copyOutput(spec, id)
		return t, nil
	}
	if structs.KindOf(err) == structs.Unknown {
		return nil, err
	}
	return nil, d.notStarted(ctx, t, err)
}

// notStarted removes a container that does not start and says why it does not.
func (d *Driver) notStarted(ctx context.Context, t *task, why error) error {
	state, err := t.inspect(ctx)
	if err == nil && (state.ExitCode == 126 || state.ExitCode == 127) {
		why = &drivers.NoProgram{Code: state.ExitCode, Err: structs.Errorf(structs.Invalid, t.object(), "%s", firstLine(state.Error))}
	} else if structs.KindOf(why) == structs.NotFound || structs.KindOf(why) == structs.Conflict {
		why = structs.Errorf(structs.Internal, t.object(), "%w", why) // of what, the engine does not say: it is the task's failure
	}
	if err := t.remove(ctx, true); err != nil {
		return structs.Errorf(structs.Unknown, t.object(), "it did not start (%v), and its container cannot be removed: %w", why, err)
	}
	return why
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Recover finds the container of a start by its handle, or by its name.
func (d *Driver) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	t := &task{d: d, spec: spec.ID}
	id := string(handle)
	if id == "" {
		id = nameOf(spec.ID)
	}
	var found client.ContainerInspectResult
	err := d.engine.look(ctx, t.object(), "look for its container", func(ctx context.Context, api *client.Client) (err error) {
		found, err = api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	c := &found.Container
	if c.Config == nil || c.Config.Labels[labelTask] != spec.ID {
		return nil, structs.Errorf(structs.NotFound, t.object(), "the container %s is not its own", id)
	}
	t.id = c.ID
	if c.State == nil || c.State.Status == "created" || c.State.Status == "removing" || c.State.Status == "dead" || cutOff(c.State) {
		// It never ran, or is on its way out. A start that an earlier agent asked for may still be under way: removing it ends that.
		if err := t.remove(ctx, true); err != nil {
			return nil, err
		}
		return nil, structs.Errorf(structs.NotFound, t.object(), "its container was never started")
	}
	t.out = d.copyOutput(spec, c.ID)
	return t, nil
}
