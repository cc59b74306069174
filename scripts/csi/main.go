// Command csi is a storage plugin for tests: its volumes are folders, and it mounts them by bind mounts. Its storage is a folder that all
// its processes share, so that it knows what real storage would: which volumes there are and which node they are attached to. It refuses what
// the specification lets it refuse, and fails as files in the folder say:
//
//	fault/METHOD        with "hang" it answers when the file is gone, with "late" it does its work and fails then
//	fault/METHOD.held   a call hangs, or did
//	volumes/NAME/       a volume; its data is in data, and attached has a file for each node
//	log                 one line a call
//
// A volume that is to be a block device is a loop device over its file image.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type plugin struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	root, node string
	most       int64
	zone       string
	mu         sync.Mutex
}

func main() {
	p := &plugin{}
	flag.StringVar(&p.root, "root", "", "folder of the storage")
	flag.StringVar(&p.node, "node", "", "name of the node")
	flag.Int64Var(&p.most, "most", 0, "volumes that a node may have")
	flag.StringVar(&p.zone, "zone", "", "where the node is; volumes can be reached from the zone that their parameter names")
	flag.Parse()
	at := strings.TrimPrefix(os.Getenv("CSI_ENDPOINT"), "unix://")
	// The path may be longer than that of a socket.
	if err := os.Chdir(filepath.Dir(at)); err != nil {
		fatal(err)
	}
	os.Remove(filepath.Base(at))
	l, err := net.Listen("unix", filepath.Base(at))
	if err != nil {
		fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(p.intercept))
	csi.RegisterIdentityServer(s, p)
	csi.RegisterControllerServer(s, p)
	csi.RegisterNodeServer(s, p)
	fatal(s.Serve(l))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// intercept notes a call, and fails it as a file says.
func (p *plugin) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := filepath.Base(info.FullMethod)
	fault := filepath.Join(p.root, "fault", method)
	for read(fault) == "hang" {
		os.WriteFile(fault+".held", nil, 0o600)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	answer, err := next(ctx, req)
	if read(fault) == "late" {
		err = status.Error(codes.Internal, "it was done, and nobody hears of it")
	}
	if strings.HasPrefix(method, "Probe") || strings.Contains(method, "Get") {
		return answer, err
	}
	line := method + " " + p.node
	if x, ok := req.(interface{ GetVolumeId() string }); ok {
		line += " " + x.GetVolumeId()
	}
	if x, ok := req.(interface{ GetNodeId() string }); ok {
		line += " to " + x.GetNodeId()
	}
	line += " " + status.Code(err).String()
	if f, e := os.OpenFile(filepath.Join(p.root, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); e == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
	return answer, err
}

func read(path string) string {
	raw, _ := os.ReadFile(path)
	return strings.TrimSpace(string(raw))
}

func (p *plugin) volume(id string, parts ...string) string {
	return filepath.Join(append([]string{p.root, "volumes", filepath.Base(id)}, parts...)...)
}

func (p *plugin) known(id string) error {
	if id == "" {
		return status.Error(codes.InvalidArgument, "no volume")
	}
	if _, err := os.Stat(p.volume(id)); err != nil {
		return status.Errorf(codes.NotFound, "no volume %s", id)
	}
	return nil
}

// asks refuses a call without the secret that a volume has for it, in a file.
func (p *plugin) asks(id, call string, secrets map[string]string) error {
	if want := read(p.volume(id, call+"-secret")); want != "" && (secrets["key"] != want || len(secrets) != 1) {
		return status.Errorf(codes.InvalidArgument, "%d secrets, and not that to %s", len(secrets), call)
	}
	return nil
}

func (p *plugin) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: "folders.proffer.test", VendorVersion: "1.2.3"}, nil
}

func (p *plugin) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	r := &csi.GetPluginCapabilitiesResponse{}
	for _, t := range []csi.PluginCapability_Service_Type{csi.PluginCapability_Service_CONTROLLER_SERVICE,
		csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS} {
		r.Capabilities = append(r.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}}})
	}
	return r, nil
}

func (p *plugin) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (p *plugin) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME, csi.ControllerServiceCapability_RPC_EXPAND_VOLUME} {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

func (p *plugin) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.Name == "" || len(r.VolumeCapabilities) == 0 || r.VolumeCapabilities[0].GetAccessType() == nil {
		return nil, status.Error(codes.InvalidArgument, "no name or no use")
	}
	if want := r.Parameters["secret"]; want != "" && r.Secrets["key"] != want {
		return nil, status.Error(codes.InvalidArgument, "wrong secret")
	}
	id := "vol-" + r.Name
	if err := os.MkdirAll(p.volume(id, "data"), 0o777); err != nil {
		return nil, err
	}
	os.Chmod(p.volume(id, "data"), 0o777)
	if err := os.MkdirAll(p.volume(id, "attached"), 0o700); err != nil {
		return nil, err
	}
	size := r.CapacityRange.GetRequiredBytes()
	if err := os.WriteFile(p.volume(id, "size"), []byte(strconv.FormatInt(size, 10)), 0o600); err != nil {
		return nil, err
	}
	if r.VolumeCapabilities[0].GetBlock() != nil {
		if err := os.WriteFile(p.volume(id, image), make([]byte, size), 0o600); err != nil {
			return nil, err
		}
	}
	v := &csi.Volume{VolumeId: id, CapacityBytes: size, VolumeContext: map[string]string{"folder": id}}
	zone := r.Parameters["zone"]
	if want := r.AccessibilityRequirements.GetRequisite(); zone == "" && len(want) > 0 {
		zone = want[0].Segments["zone"]
	}
	if zone != "" {
		v.AccessibleTopology = []*csi.Topology{{Segments: map[string]string{"zone": zone}}}
	}
	return &csi.CreateVolumeResponse{Volume: v}, nil
}

func (p *plugin) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if at, _ := os.ReadDir(p.volume(r.VolumeId, "attached")); len(at) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "it is attached to %s", at[0].Name())
	}
	return &csi.DeleteVolumeResponse{}, os.RemoveAll(p.volume(r.VolumeId))
}

// ValidateVolumeCapabilities confirms what it can do: a volume with a file single in it is for one node.
func (p *plugin) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := p.known(r.VolumeId); err != nil {
		return nil, err
	}
	for _, c := range r.VolumeCapabilities {
		if _, err := os.Stat(p.volume(r.VolumeId, "single")); err == nil && !single(c) {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: "it is for one node"}, nil
		}
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeContext: r.VolumeContext,
		VolumeCapabilities: r.VolumeCapabilities}}, nil
}

// single reports whether a use is for one node.
func single(c *csi.VolumeCapability) bool {
	return c.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}

func (p *plugin) ControllerPublishVolume(_ context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.known(r.VolumeId); err != nil {
		return nil, err
	}
	if r.NodeId == "" || r.VolumeContext["folder"] == "" {
		return nil, status.Error(codes.InvalidArgument, "no node or no context")
	}
	at, _ := os.ReadDir(p.volume(r.VolumeId, "attached"))
	for _, e := range at {
		if e.Name() != r.NodeId && single(r.VolumeCapability) {
			return nil, status.Errorf(codes.FailedPrecondition, "it is attached to %s", e.Name())
		}
	}
	if err := os.WriteFile(p.volume(r.VolumeId, "attached", filepath.Base(r.NodeId)), nil, 0o600); err != nil {
		return nil, err
	}
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{"device": "disk-of-" + r.NodeId}}, nil
}

func (p *plugin) ControllerUnpublishVolume(_ context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := os.Remove(p.volume(r.VolumeId, "attached", filepath.Base(r.NodeId)))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

func (p *plugin) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if err := p.known(r.VolumeId); err != nil {
		return nil, err
	}
	size := r.CapacityRange.GetRequiredBytes()
	err := os.WriteFile(p.volume(r.VolumeId, "size"), []byte(strconv.FormatInt(size, 10)), 0o600)
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: true}, err
}

func (p *plugin) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	r := &csi.NodeGetInfoResponse{NodeId: p.node, MaxVolumesPerNode: p.most}
	if p.zone != "" {
		r.AccessibleTopology = &csi.Topology{Segments: map[string]string{"zone": p.zone}}
	}
	return r, nil
}

func (p *plugin) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_EXPAND_VOLUME} {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

// bind mounts a folder at another one, once.
func bind(from, to string, readOnly bool) error {
	if mounted(to) {
		return nil
	}
	if _, err := os.Lstat(to); err != nil {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if readOnly {
		return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

func mounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func unbind(path string) error {
	for mounted(path) {
		if err := unix.Unmount(path, 0); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	return nil
}

// image is what a volume that is a block device has on its disk.
const image = "image"

// loop makes a block device of a volume, once.
func (p *plugin) loop(id string) error {
	at := p.volume(id, "loop-on-"+p.node)
	if read(at) != "" {
		return nil
	}
	out, err := exec.Command("losetup", "--find", "--show", p.volume(id, image)).Output()
	if err != nil {
		return status.Errorf(codes.Internal, "losetup: %v", err)
	}
	return os.WriteFile(at, out, 0o600)
}

func (p *plugin) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if err := p.known(r.VolumeId); err != nil {
		return nil, err
	}
	if err := p.asks(r.VolumeId, "stage", r.Secrets); err != nil {
		return nil, err
	}
	if r.PublishContext["device"] != "disk-of-"+p.node {
		return nil, status.Errorf(codes.InvalidArgument, "publish context is %v", r.PublishContext)
	}
	if _, err := os.Stat(p.volume(r.VolumeId, "attached", p.node)); err != nil {
		return nil, status.Error(codes.FailedPrecondition, "it is not attached here")
	}
	if r.VolumeCapability.GetBlock() != nil {
		return &csi.NodeStageVolumeResponse{}, p.loop(r.VolumeId)
	}
	return &csi.NodeStageVolumeResponse{}, bind(p.volume(r.VolumeId, "data"), r.StagingTargetPath, false)
}

func (p *plugin) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if device := read(p.volume(r.VolumeId, "loop-on-"+p.node)); device != "" {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			return nil, status.Errorf(codes.Internal, "%v: %s", err, out)
		}
		os.Remove(p.volume(r.VolumeId, "loop-on-"+p.node))
	}
	return &csi.NodeUnstageVolumeResponse{}, unbind(r.StagingTargetPath)
}

func (p *plugin) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := p.asks(r.VolumeId, "publish", r.Secrets); err != nil {
		return nil, err
	}
	if r.VolumeCapability.GetBlock() != nil {
		device := read(p.volume(r.VolumeId, "loop-on-"+p.node))
		if device == "" {
			return nil, status.Error(codes.FailedPrecondition, "it is not staged")
		}
		if err := os.WriteFile(r.TargetPath, nil, 0o600); err != nil && !mounted(r.TargetPath) {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, bind(device, r.TargetPath, false)
	}
	if !mounted(r.StagingTargetPath) {
		return nil, status.Error(codes.FailedPrecondition, "it is not staged")
	}
	return &csi.NodePublishVolumeResponse{}, bind(r.StagingTargetPath, r.TargetPath, r.Readonly)
}

func (p *plugin) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unbind(r.TargetPath); err != nil {
		return nil, err
	}
	os.Remove(r.TargetPath)
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (p *plugin) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if !mounted(r.VolumePath) {
		return nil, status.Error(codes.NotFound, "it is not mounted there")
	}
	return &csi.NodeExpandVolumeResponse{}, os.WriteFile(p.volume(r.VolumeId, "grown-on-"+p.node), []byte(strconv.FormatInt(r.CapacityRange.GetRequiredBytes(), 10)), 0o600)
}
