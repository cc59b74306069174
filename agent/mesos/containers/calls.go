package containers

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// answers has the calls that this package answers, in their one form. A stream of input is for Input.
var answers = map[wire.AgentCallType]func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error{
	wire.AgentLaunchNestedContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, _ mesos.Caller) error {
		return c.begin(w, r, call.LaunchNested, false)
	},
	wire.AgentLaunchNestedContainerSession: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, _ mesos.Caller) error {
		return c.begin(w, r, call.LaunchSession, true)
	},
	wire.AgentLaunchContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error {
		l := call.LaunchContainer
		if l.ContainerID.Parent == nil {
			return c.beginAlone(w, r, l, who)
		}
		return c.begin(w, r, &wire.LaunchContainer{ContainerID: l.ContainerID, Command: l.Command, Container: l.Container}, false)
	},
	wire.AgentWaitNestedContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, _ mesos.Caller) error {
		return c.wait(w, r, &call.WaitNested.ContainerID, wire.AgentAnswerWaitNestedContainer)
	},
	wire.AgentWaitContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, _ mesos.Caller) error {
		return c.wait(w, r, &call.WaitContainer.ContainerID, wire.AgentAnswerWaitContainer)
	},
	wire.AgentKillNestedContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error {
		return c.end(w, r, call.KillNested, who)
	},
	wire.AgentKillContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error {
		return c.end(w, r, call.KillContainer, who)
	},
	wire.AgentRemoveNestedContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error {
		return c.remove(w, r, &call.RemoveNested.ContainerID, who)
	},
	wire.AgentRemoveContainer: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) error {
		return c.remove(w, r, &call.RemoveContainer.ContainerID, who)
	},
	wire.AgentAttachContainerOutput: func(c *Containers, w http.ResponseWriter, r *http.Request, call *wire.AgentCall, _ mesos.Caller) error {
		return c.attachOutput(w, r, &call.AttachOutput.ContainerID)
	},
	wire.AgentAttachContainerInput: func(*Containers, http.ResponseWriter, *http.Request, *wire.AgentCall, mesos.Caller) error {
		return mesos.Refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of application/recordio")
	},
}

// Call answers a call that was read and has what its type needs; false: it is none of containers. An error was not answered.
func (c *Containers) Call(w http.ResponseWriter, r *http.Request, call *wire.AgentCall, who mesos.Caller) (mine bool, err error) {
	answer := answers[*call.Type]
	if answer == nil {
		return false, nil
	}
	return true, answer(c, w, r, call, who)
}

// begin launches a container, and serves its output when it is a session, which ends with its connection.
func (c *Containers) begin(w http.ResponseWriter, r *http.Request, l *wire.LaunchContainer, session bool) error {
	cmd, size, err := commandOf(l)
	if err != nil {
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	}
	var as format
	if session {
		if as, err = formatOf(r); err != nil {
			return err
		}
	}
	p, err := c.find(&l.ContainerID)
	switch {
	case err != nil:
		return err
	case !p.inner:
		return mesos.Refuse(http.StatusBadRequest, "Expecting 'container_id.parent' to be present")
	}
	if err := c.node.Running(p.alloc, p.task); err != nil {
		return refused(err)
	}
	var x *container
	var first *reader
	if !session {
		x, err = c.launchOwn(r.Context(), p, cmd, size)
	}
	if session || held(err) {
		x, first, err = c.launch(p, cmd, size, session)
	}
	if errors.Is(err, errKnown) {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if err != nil {
		return refused(err)
	}
	c.log.Info("a container begins within a task", "alloc", structs.Short(p.alloc), "task", p.task, "container", p.key, "session", session)
	if !session {
		if first != nil {
			first.close()
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	defer func() { c.kill(x); <-x.done }()
	defer first.close()
	c.send(w, r, as, first)
	return nil
}

// commandOf returns what a container runs: as its task does, in whose folders, network and limits it is.
func commandOf(l *wire.LaunchContainer) (cmd drivers.Command, size *drivers.Size, err error) {
	c := l.Command
	if c == nil {
		c = &wire.CommandInfo{}
	}
	p, err := mesos.ProgramOf(c)
	switch {
	case err != nil:
		return cmd, nil, err
	case p.Path == "":
		return cmd, nil, errors.New("CommandInfo has no 'value'")
	case len(c.URIs) > 0:
		return cmd, nil, errors.New("'CommandInfo.uris' of a container within a task are not served: it has the files of the task")
	case c.User != nil:
		return cmd, nil, errors.New("'CommandInfo.user' of a container within a task is not served: it runs as the task does")
	}
	cmd.Args, cmd.Arg0 = append([]string{p.Path}, p.Args...), p.Arg0
	if e := c.Environment; e != nil {
		values := map[string]string{}
		for _, v := range e.Variables {
			if v.Type != nil && *v.Type != wire.VariableValue {
				return cmd, nil, errors.New("Environment variables that are secrets are not served within a task")
			}
			value := ""
			if v.Value != nil {
				value = *v.Value
			}
			if v.Name == "" || strings.Contains(v.Name, "=") {
				return cmd, nil, errors.New("The name of an environment variable is invalid")
			}
			values[v.Name] = value
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			cmd.Env = append(cmd.Env, name+"="+values[name])
		}
	}
	for _, text := range slices.Concat(cmd.Args, cmd.Env, c.Arguments) {
		if strings.Contains(text, "\x00") {
			return cmd, nil, errors.New("CommandInfo has a zero byte")
		}
	}
	i := l.Container
	if i == nil {
		return cmd, nil, nil
	}
	if i.Type != wire.ContainerMesos || i.Mesos != nil && i.Mesos.Image != nil || i.Hostname != nil || len(i.Volumes) > 0 || len(i.Networks) > 0 ||
		!asItsTask(i.Linux) || i.RLimits != nil {
		return cmd, nil, errors.New("A container within a task has what the task has: of 'ContainerInfo' only the type MESOS, 'tty_info', 'share_pid_namespace' and 'ipc_mode' SHARE_PARENT are served")
	}
	if i.TTY != nil {
		cmd.TTY = true
		size = sizeOf(i.TTY)
	}
	return cmd, size, nil
}

// asItsTask reports whether a container asks for nothing but to share what its task has.
func asItsTask(l *wire.LinuxInfo) bool {
	return l == nil || l.Capabilities == nil && l.Bounding == nil && l.Effective == nil && l.Seccomp == nil && l.ShmSize == nil &&
		(l.SharePID == nil || *l.SharePID) && (l.IPC == nil || l.IPC.String() == "SHARE_PARENT")
}

// sizeOf returns how large a terminal is to be; nil: it is not said.
func sizeOf(t *wire.TTYInfo) *drivers.Size {
	if t.WindowSize == nil || t.WindowSize.Rows == 0 || t.WindowSize.Columns == 0 {
		return nil
	}
	const most = 10_000
	return &drivers.Size{Rows: uint16(min(t.WindowSize.Rows, most)), Cols: uint16(min(t.WindowSize.Columns, most))}
}

// refused gives an error of the node the status of Mesos.
func refused(err error) error {
	switch structs.KindOf(err) {
	case structs.NotFound:
		return mesos.Refuse(http.StatusNotFound, "%v", err)
	case structs.Conflict:
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	}
	return err
}

// wait answers when a container has ended.
func (c *Containers) wait(w http.ResponseWriter, r *http.Request, id *wire.ContainerID, kind wire.AgentResponseType) error {
	encoding, err := mesos.Acceptable(r)
	if err != nil {
		return err
	}
	p, err := c.find(id)
	if err != nil {
		return err
	}
	end := &wire.ContainerEnd{}
	if p.inner {
		x, err := c.within(p, id)
		if err != nil {
			return err
		}
		select {
		case <-x.done:
		case <-r.Context().Done():
			return r.Context().Err()
		}
		c.ending(x, end)
	} else {
		s, err := c.node.Await(r.Context(), p.alloc, p.task)
		if err != nil {
			return refused(err)
		}
		if s.Started != 0 {
			end.ExitStatus = status(s.ExitCode, s.Signal)
		}
		end.State, end.Message = new(mesos.TaskState(s.Status)), wire.Optional(s.Why)
	}
	answer := &wire.AgentResponse{Type: new(kind)}
	if kind == wire.AgentAnswerWaitContainer {
		answer.WaitContainer = end
	} else {
		answer.WaitNested = end
	}
	w.Header().Set("Content-Type", encoding.ContentType())
	w.Write(encoding.Marshal(answer)) // an error: who asked went
	return nil
}

// ending says how a container ended.
func (c *Containers) ending(x *container, end *wire.ContainerEnd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case x.killed && x.err != nil:
		end.ExitStatus, end.State = status(0, sigkill), new(wire.TaskKilled)
	case x.killed && x.exit.Signal != 0:
		end.ExitStatus, end.State = status(0, x.exit.Signal), new(wire.TaskKilled)
	case x.err != nil:
		end.State, end.Message = new(wire.TaskFailed), wire.Optional(x.err.Error())
	default:
		end.ExitStatus, end.Message = status(x.exit.Code, x.exit.Signal), wire.Optional(x.exit.Why)
		if end.State = new(wire.TaskFinished); x.exit.Code != 0 {
			end.State = new(wire.TaskFailed)
		}
	}
}

// status is how wait(2) says that a process ended; nil: it is not known.
func status(code, signal int) *int32 {
	switch {
	case signal != 0:
		return new(int32(signal))
	case code < 0:
		return nil
	}
	return new(int32(code) << 8)
}

// Signals that end what they are sent to.
const sigkill, sigterm = 9, 15

// end sends a signal to a task, or ends a container within one.
func (c *Containers) end(w http.ResponseWriter, r *http.Request, k *wire.KillContainer, who mesos.Caller) error {
	signal := int32(sigkill)
	if k.Signal != nil {
		signal = *k.Signal
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	p, err := c.find(&k.ContainerID)
	if unplaced(&k.ContainerID, err) { // one that waits for its place
		if err := c.stopAlone(ctx, &k.ContainerID, who, false); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if err != nil {
		return err
	}
	if p.inner {
		x, err := c.within(p, &k.ContainerID)
		if err != nil {
			return err
		}
		if x.own != nil {
			if err := c.signal(ctx, x, signal); err != nil {
				return err
			}
			w.WriteHeader(http.StatusOK)
			return nil
		}
		if signal != sigkill && signal != sigterm {
			return mesos.Refuse(http.StatusBadRequest, "A container within a task gets no signal but those that end it: 9 and 15, which both end it at once")
		}
		c.kill(x)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := c.node.Signal(ctx, p.alloc, p.task, strconv.Itoa(int(signal))); err != nil {
		return refused(err)
	}
	c.log.Info("a task was sent a signal", "alloc", structs.Short(p.alloc), "task", p.task, "signal", signal)
	w.WriteHeader(http.StatusOK)
	return nil
}

// remove forgets a container that ended.
func (c *Containers) remove(w http.ResponseWriter, r *http.Request, id *wire.ContainerID, who mesos.Caller) error {
	p, err := c.find(id)
	waits := unplaced(id, err)
	switch {
	case err != nil && !waits:
		return err
	case waits || p.alone && !p.inner:
		if !waits {
			if gone, err := c.node.Gone(p.alloc, p.task); err == nil && !closed(gone) {
				return notEnded(id)
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if err := c.stopAlone(ctx, id, who, true); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	case !p.inner:
		return mesos.Refuse(http.StatusBadRequest, "What a task leaves is removed by the node")
	}
	x, err := c.within(p, id)
	if err != nil {
		return err
	}
	if !x.over() {
		return notEnded(id)
	}
	if x.own != nil {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if err := c.forgetOwn(ctx, x); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[p.key] == x { // and not another one that was launched since somebody else removed it
		c.forget(p.key)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func notEnded(id *wire.ContainerID) error {
	return mesos.Refuse(http.StatusConflict, "Container '%.300s' has not ended: kill it first", keyOf(id))
}
