package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/structs"
)

// A client asks what frameworks are once in a while, asks for new ones at once, and answers with what it knew while no server does.
func TestRemembersFrameworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f frameworks
		asked, name := 0, "first"
		var fault error
		look := func(ids ...structs.FrameworkID) string {
			out := ""
			for _, x := range f.of(ids, func(ids []structs.FrameworkID) (all []*structs.Framework, err error) {
				asked++
				for _, id := range ids {
					if id != "gone" {
						all = append(all, &structs.Framework{ID: id, Name: name})
					}
				}
				return all, fault
			}) {
				out += string(x.ID) + "=" + x.Name + " "
			}
			return out
		}
		expect := func(got, want string, times int) {
			t.Helper()
			if got != want || asked != times {
				t.Errorf("%q after %d questions, want %q after %d", got, asked, want, times)
			}
		}
		time.Sleep(time.Hour) // the clock is at its beginning
		fault = errors.New("no server answers")
		expect(look("a"), "", 1)
		expect(look("a"), "", 1) // not again at once
		time.Sleep(frameworksRest + 1)
		fault = nil
		expect(look("a", "gone"), "a=first ", 2)
		expect(look("a", "gone"), "a=first ", 2)
		name = "second"
		expect(look("a", "b"), "a=second b=second ", 3)
		time.Sleep(frameworksAge + 1)
		fault = errors.New("no server answers")
		expect(look("b"), "b=second ", 4)
		if len(f.known) != 1 {
			t.Errorf("it remembers %v", f.known)
		}
	})
}
