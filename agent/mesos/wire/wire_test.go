package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func sample() *Event {
	role, text, port := "*", "über", 5051.0
	return &Event{Type: new(EventOffers), Offers: &Offers{Offers: []Offer{{ID: ID{"o"}, FrameworkID: ID{"f"}, AgentID: ID{"a"}, Hostname: "h",
		Resources: []Resource{
			{Name: "cpus", Type: ValueScalar, Scalar: &Scalar{2}, Role: &role},
			{Name: "ports", Type: ValueRanges, Ranges: &Ranges{[]Range{{31000, 32000}, {1 << 63, math.MaxUint64}}}}},
		Attributes: []Attribute{{Name: "rack", Type: ValueText, Text: &Text{text}}, {Name: "x", Type: ValueScalar, Scalar: &Scalar{port}}}}}}}
}

// The text of an event is what clients in use expect, to the byte.
func TestJSONIsThatOfMesos(t *testing.T) {
	got := string(JSON.Marshal(sample()))
	want := `{"type":"OFFERS","offers":{"offers":[{"id":{"value":"o"},"framework_id":{"value":"f"},"agent_id":{"value":"a"},"hostname":"h",` +
		`"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2.0},"role":"*"},{"name":"ports","type":"RANGES","ranges":{"range":[` +
		`{"begin":31000,"end":32000},{"begin":9223372036854775808,"end":18446744073709551615}]}}],` +
		`"attributes":[{"name":"rack","type":"TEXT","text":{"value":"über"}},{"name":"x","type":"SCALAR","scalar":{"value":5051.0}}]}]}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	inf := math.Inf(1)
	info := &FrameworkInfo{User: "u", Name: "n", FailoverTimeout: &inf}
	if got, want := string(JSON.Marshal(info)), `{"user":"u","name":"n","failover_timeout":"Infinity","checkpoint":false}`; got != want {
		t.Errorf("defaults: %s", got)
	}
	if got := string(JSON.Marshal(&Event{Type: new(EventHeartbeat)})); got != `{"type":"HEARTBEAT"}` {
		t.Errorf("heartbeat: %s", got)
	}
	status := &TaskStatus{TaskID: ID{"1"}, State: TaskRunning, UUID: []byte{0xfb, 0xff}}
	if got := string(JSON.Marshal(status)); got != `{"task_id":{"value":"1"},"state":"TASK_RUNNING","uuid":"+/8="}` {
		t.Errorf("status: %s", got)
	}
	if got, bits := JSON.Marshal((*Labels)(nil)), Protobuf.Marshal((*Labels)(nil)); string(got) != "{}" || len(bits) != 0 {
		t.Errorf("nothing at all: %s, %x", got, bits)
	}
}

// Where the documentation of Mesos says otherwise than its code, the code is right: clients that work were made by it.
func TestJSONIsThatOfTheCode(t *testing.T) {
	for text, message := range map[string]any{
		`{"type":"REVIVE","revive":{"roles":["eng"]}}`:                                          &Call{Type: new(CallRevive), Revive: &Roles{Roles: []string{"eng"}}},
		`{"type":"SUPPRESS","suppress":{"roles":["eng"]}}`:                                      &Call{Type: new(CallSuppress), Suppress: &Roles{Roles: []string{"eng"}}},
		`{"type":"REQUEST","request":{"requests":[{"agent_id":{"value":"a"}}]}}`:                &Call{Type: new(CallRequest), Request: &Requests{Requests: []Request{{AgentID: &ID{"a"}}}}},
		`{"type":"ERROR","error":{"message":"m"}}`:                                              &Event{Type: new(EventError), Error: &Error{Message: "m"}},
		`{"type":"OFFERS","offers":{}}`:                                                         &Event{Type: new(EventOffers), Offers: &Offers{}},
		`{"type":"RESCIND","rescind":{"offer_id":{"value":"o"}}}`:                               &Event{Type: new(EventRescind), Rescind: &Rescind{OfferID: ID{"o"}}},
		`{"task_id":{"value":"t"},"state":"TASK_FAILED","data":"eA=="}`:                         &TaskStatus{TaskID: ID{"t"}, State: TaskFailed, Data: []byte("x")},
		`{"agent_id":{"value":"a"},"max_grace_period":{"seconds":60},"mark_gone":false}`:        &DrainAgent{AgentID: ID{"a"}, MaxGrace: &Duration{Seconds: new(int64(60))}},
		`{"type":"SHUTDOWN","shutdown":{"executor_id":{"value":"x"},"agent_id":{"value":"a"}}}`: &Call{Type: new(CallShutdown), Shutdown: &Shutdown{ExecutorID: ID{"x"}, AgentID: ID{"a"}}},
	} {
		if got := string(JSON.Marshal(message)); got != text {
			t.Errorf("got  %s\nwant %s", got, text)
		}
		back := reflect.New(reflect.TypeOf(message).Elem()).Interface()
		if err := JSON.Unmarshal([]byte(text), back); err != nil || string(JSON.Marshal(back)) != text {
			t.Errorf("%s becomes %s, %v", text, JSON.Marshal(back), err)
		}
	}
	if err := JSON.Unmarshal([]byte(`{"agent_id":{"value":"a"},"max_grace_period":"60secs"}`), &DrainAgent{}); err == nil {
		t.Error("a duration as a text is taken, which Mesos refuses")
	}
}

// The bytes of a message, computed by hand from the numbers.
func TestProtobufIsThatOfMesos(t *testing.T) {
	call := &Call{FrameworkID: &ID{"F"}, Type: new(CallAcknowledge), Acknowledge: &Acknowledge{ID{"A"}, ID{"T"}, []byte{1, 2}}}
	want := []byte{0x0a, 3, 0x0a, 1, 'F', 0x10, 8, 0x42, 14, 0x0a, 3, 0x0a, 1, 'A', 0x12, 3, 0x0a, 1, 'T', 0x1a, 2, 1, 2}
	if got := Protobuf.Marshal(call); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	var back Call
	if err := Protobuf.Unmarshal(want, &back); err != nil || !reflect.DeepEqual(&back, call) {
		t.Errorf("%+v: %v", back, err)
	}
	if got := Protobuf.Marshal(&Filters{RefuseSeconds: new(5.0)}); !bytes.Equal(got, []byte{9, 0, 0, 0, 0, 0, 0, 0x14, 0x40}) {
		t.Errorf("a double: %x", got)
	}
}

func TestEveryMessageSurvivesBothEncodings(t *testing.T) {
	shell, value, role := false, "sleep", "eng/web"
	call := &Call{FrameworkID: &ID{"F"}, Type: new(CallAccept), Accept: &Accept{OfferIDs: []ID{{"o"}}, Filters: &Filters{new(1.5)},
		Operations: []Operation{{Type: new(OperationLaunch), Launch: &Launch{[]TaskInfo{{Name: "n", TaskID: ID{"t"}, AgentID: ID{"a"}, Data: []byte{0},
			Command:    &CommandInfo{Value: &value, Shell: &shell, Arguments: []string{"sleep", "1"}, Environment: &Environment{[]Variable{{Name: "A", Value: &value}}}},
			Limits:     map[string]*Scalar{"cpus": {1}, "mem": {2}},
			KillPolicy: &KillPolicy{&DurationInfo{-5}}}}}},
			{Type: new(OperationReserve), Reserve: &Reserve{Resources: []Resource{{Name: "cpus", Reservations: []Reservation{{Role: &role,
				Type: new(ReservationDynamic), Labels: &Labels{[]Label{{Key: "k"}}}}}}}}},
			{Type: new(OperationCreate), ID: &ID{"op"}, Create: &Volumes{[]Resource{{Name: "disk", Shared: &Shared{}, Disk: &DiskInfo{Persistence: &Persistence{"p", &role},
				Volume: &Volume{ContainerPath: "data", Mode: VolumeRO}, Source: &DiskSource{Type: DiskMount, Mount: &DiskRoot{&role}}}}}}},
			{Type: new(OperationShrinkVolume), Shrink: &ShrinkVolume{Resource{Name: "disk"}, Scalar{1}}},
			{Type: new(OperationCreateDisk), CreateDisk: &CreateDisk{Resource{Name: "disk"}, DiskBlock, nil}}}}}
	for _, e := range []Encoding{JSON, Protobuf} {
		for _, message := range []any{call, sample()} {
			back := reflect.New(reflect.TypeOf(message).Elem()).Interface()
			if err := e.Unmarshal(e.Marshal(message), back); err != nil {
				t.Fatal(err)
			}
			if e == JSON { // defaults are written
				if c, ok := back.(*Call); ok {
					c.Accept.Operations[0].Launch.Tasks[0].Command.Environment.Variables[0].Type = nil
				}
			}
			if !reflect.DeepEqual(back, message) {
				t.Errorf("%v: got  %s\nwant %s", e, JSON.Marshal(back), JSON.Marshal(message))
			}
		}
	}
}

// What Mesos takes in JSON, and what it refuses.
func TestJSONInput(t *testing.T) {
	for _, good := range []struct{ in, want string }{
		{`{"type":"DECLINE","decline":{"offer_ids":{"value":"o"}},"unknown":[{}]}`, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"o"}]}}`},
		{`{"type":"DECLINE","decline":{"filters":{"refuse_seconds":"Infinity"}}}`, `{"type":"DECLINE","decline":{"filters":{"refuse_seconds":"Infinity"}}}`},
		{`{"type":"NO_SUCH_CALL"}`, `{}`},
		{`{"type":null}`, `{}`},
		{`{"type":"REVIVE","revive":{"roles":[null,"eng",null]}}`, `{"type":"REVIVE","revive":{"roles":["eng"]}}`},
		{`{"type":"DECLINE","decline":{"offer_ids":[null]}}`, `{"type":"DECLINE","decline":{}}`},
		{`{"type":"REVIVE","revive":{"roles":"eng"}}`, `{"type":"REVIVE","revive":{"roles":["eng"]}}`},
		{`{"type":"DECLINE","decline":{"filters":{"refuse_seconds":"2.5"}}}`, `{"type":"DECLINE","decline":{"filters":{"refuse_seconds":2.5}}}`},
	} {
		var c Call
		if err := JSON.Unmarshal([]byte(good.in), &c); err != nil {
			t.Errorf("%s: %v", good.in, err)
		} else if got := string(JSON.Marshal(&c)); got != good.want {
			t.Errorf("%s: %s", good.in, got)
		}
	}
	for in, want := range map[string]string{
		`{"type":1}`:              "type is no name",
		`{"kill":{}}`:             "kill.task_id is missing",
		`{"kill":{"task_id":{}}}`: "kill.task_id.value is missing",
		`{"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"!"}}`: "acknowledge.uuid is no base64",
		`{"revive":[]}`:            "revive is no object",
		`[]`:                       "it is no object",
		`{`:                        "no JSON",
		`{} {}`:                    "more behind",
		`{"revive":{"roles":[1]}}`: "revive.roles[0] is no text",
		`{"subscribe":{"framework_info":{"user":"u","name":"n","capabilities":[{"type":"MADE_UP"}],"failover_timeout":[]}}}`: "failover_timeout is no number",
	} {
		var c Call
		if err := JSON.Unmarshal([]byte(in), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestProtobufInput(t *testing.T) {
	for name, in := range map[string][]byte{
		"cut off":            {0x0a, 5, 'x'},
		"no value":           {0x0a, 0},
		"no number":          {0x00, 1},
		"a group":            {0x0b},
		"an endless varint":  bytes.Repeat([]byte{0xff}, 20),
		"a size that is not": {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if err := Protobuf.Unmarshal(in, &Call{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	var c Call
	if err := Protobuf.Unmarshal([]byte{0x10, 99, 0xf8, 0x7f, 1}, &c); err != nil || c.Type != nil {
		t.Errorf("an unknown call and an unknown field: %+v %v", c, err)
	}
}

func TestRecords(t *testing.T) {
	stream := AppendRecord(AppendRecord(nil, []byte("abc")), []byte("{}\n"))
	if string(stream) != "3\nabc3\n{}\n" {
		t.Errorf("%q", stream)
	}
	r := bufio.NewReader(bytes.NewReader(stream))
	for _, want := range []string{"abc", "{}\n"} {
		if got, err := ReadRecord(r); err != nil || string(got) != want {
			t.Errorf("%q %v", got, err)
		}
	}
	if _, err := ReadRecord(r); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	for _, bad := range []string{"3\nab", "3", "0\n", "\n", "x\n", "-1\n", "99999999999999\nx", "5000000\n"} {
		if _, err := ReadRecord(bufio.NewReader(strings.NewReader(bad))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Any bytes are read or refused, and what is read is the same after it was written.
func FuzzCall(f *testing.F) {
	f.Add([]byte(`{"type":"KILL","kill":{"task_id":{"value":"t"}}}`))
	f.Add(Protobuf.Marshal(&Call{FrameworkID: &ID{"F"}, Type: new(CallRevive)}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, e := range []Encoding{JSON, Protobuf} {
			var c, again Call
			if e.Unmarshal(raw, &c) != nil {
				continue
			}
			first := e.Marshal(&c)
			if err := e.Unmarshal(first, &again); err != nil {
				t.Fatalf("%q: %v", first, err)
			}
			if second := e.Marshal(&again); !bytes.Equal(first, second) {
				t.Fatalf("%q and %q", first, second)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("3\nabc"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bufio.NewReader(bytes.NewReader(raw))
		for {
			if record, err := ReadRecord(r); err != nil || len(record) == 0 {
				return
			}
		}
	})
}

func TestNumbersAsMesosWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64().Draw(t, "x")
		var back Scalar
		if err := JSON.Unmarshal(JSON.Marshal(&Scalar{x}), &back); err != nil || back.Value != x && x == x {
			t.Fatalf("%v: %v %v", x, back.Value, err)
		}
	})
}
