package conformance

import (
	"bytes"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// named: a program is called what the task or the command says, wherever it is. What a program of many names does tells which it was called by.
func named(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	run := func(cmd drivers.Command) string {
		s.Helper()
		var out bytes.Buffer
		cmd.Stdout = &out
		if exit, err := task.Exec(s.ctx, cmd); err != nil || exit.Code != 0 {
			s.Errorf("%v called %v: %+v, %v", cmd.Args, cmd.Arg0, exit, err)
		}
		return strings.ReplaceAll(out.String(), "\r", "") // a terminal adds them
	}
	for _, tty := range []bool{false, true} {
		cmd := drivers.Command{Args: []string{"sh", "-c", "echo $MADE,$HERE"}, Env: []string{"MADE=of the command", "HERE=a,b=c"}, TTY: tty}
		if said := run(cmd); said != "of the command,a,b=c\n" {
			s.Errorf("a command with variables says %q", said)
		}
	}
	if s.h.Named == nil {
		_, err := task.Exec(s.ctx, drivers.Command{Args: []string{"busybox", "one"}, Arg0: new("echo")})
		s.kind("a command by another name", err, structs.Invalid)
		return
	}
	for _, tty := range []bool{false, true} {
		for _, program := range []string{"busybox", "/bin/busybox"} {
			if said := run(drivers.Command{Args: []string{program, "of", "another"}, Arg0: new("echo"), TTY: tty}); said != "of another\n" {
				s.Errorf("a command by another name says %q", said)
			}
		}
	}
	if said := run(drivers.Command{Args: []string{"busybox", "-c", "echo $MADE"}, Arg0: new("sh"), Env: []string{"MADE=here"}}); said != "here\n" {
		s.Errorf("a command by another name, with variables, says %q", said)
	}
	if exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"/no/such/program"}, Arg0: new("echo")}); err != nil || exit.Code != 127 {
		s.Errorf("a program that is not there by another name: %+v, %v", exit, err)
	}

	spec := s.spec(Script{})
	spec.Task.Config = s.h.Named("busybox", "echo", "by", "another name")
	if exit := s.wait(s.start(spec)); exit.Code != 0 || s.text(spec, "stdout") != "by another name\n" {
		s.Errorf("a task by another name: %+v, %q", exit, s.text(spec, "stdout"))
	}

	in, ok := task.(drivers.Detacher)
	if !ok {
		return
	}
	d, err := in.Detach(s.ctx, &drivers.Detach{Name: "one", Args: []string{"busybox", "-c", "exit $MADE"}, Arg0: new("sh"), Env: []string{"MADE=7"}, LogName: "of-one"})
	if err != nil {
		s.Fatal(err)
	}
	if exit, err := d.Wait(s.ctx); err != nil || exit.Code != 7 {
		s.Errorf("a detached command by another name: %+v, %v", exit, err)
	}
}
