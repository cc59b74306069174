package mesos

import (
	"net/http"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// What package operator says in the same forms as the scheduler API.

// RoleIn returns the role that clients call name.
func RoleIn(name string) string { return roleIn(name) }

// RoleOut returns what clients call a role.
func RoleOut(name string) string { return roleOut(name) }

// TaskState returns what clients call the state of a task.
func TaskState(s structs.TaskStatus) wire.TaskState { return states[s] }

// HostOf returns where a node is reached.
func HostOf(n *structs.Node) string { return hostOf(n) }

// Refuse returns an error that Answer answers with a status and a text.
func Refuse(status int, format string, args ...any) error { return refuse(status, format, args...) }

// Answer sends what an error is as an answer; nil was answered.
func Answer(w http.ResponseWriter, r *http.Request, err error) { answer(w, r, err) }

// Resources lists an amount, each kind for itself, as reserved for a role or, with an empty one, unreserved; in both forms of Mesos.
func Resources(role string, amount structs.Resources, ports []structs.Range) []wire.Resource {
	f := &structs.Framework{Capabilities: []string{structs.CanRefineReservation}}
	var part *structs.ReservedPart
	name := anyRole
	if role != "" {
		part, name = &structs.ReservedPart{Role: role}, roleOut(role)
	}
	out := shaped(f, role, part, nil, amount, ports)
	for i := range out {
		out[i].Role = new(name)
	}
	return out
}

// ReservationsOf returns what a call to reserve, or to release, is about.
func ReservationsOf(resources []wire.Resource) ([]*structs.Reservation, error) {
	return reservationsOf(resources)
}

// VolumeOf returns the volume that a call to create asks for. Its disk is named by its path.
func VolumeOf(r *wire.Resource) (*structs.Volume, error) { return volumeOf(r) }

// VolumeNameOf returns which volume a resource is; false: it is none.
func VolumeNameOf(r *wire.Resource) (server.VolumeName, bool) {
	if !persistent(r) {
		return server.VolumeName{}, false
	}
	return nameOf(r), true
}

// AmountOf adds scalars up that are given by their names.
func AmountOf(quantities map[string]*wire.Scalar) (*structs.QuotaAmount, error) {
	return quantity(quantities)
}

// Bytes turns an amount of MB, as Mesos counts them, into bytes.
func Bytes(mb float64) (structs.Bytes, error) {
	m, err := milli(mb)
	return bytes(m), err
}

// FrameworkInfo returns what a framework said of itself.
func FrameworkInfo(f *structs.Framework) *wire.FrameworkInfo { return frameworkInfo(f) }

// MasterInfo says where a server is; nil when it cannot be said so.
func MasterInfo(address string) *wire.MasterInfo { return masterInfo(address) }

// OnlyPost refuses what is no POST.
func OnlyPost(w http.ResponseWriter, r *http.Request) error { return onlyPost(w, r) }

// Acceptable returns how to encode what is sent, JSON when both will do; an error when neither will.
func Acceptable(r *http.Request) (wire.Encoding, error) {
	encoding, ok := acceptable(r)
	if !ok {
		return 0, notAcceptable()
	}
	return encoding, nil
}

// ReadCall reads the body of a request into a call.
func ReadCall(w http.ResponseWriter, r *http.Request, call any) error {
	encoding, err := bodyEncoding(r)
	if err != nil {
		return err
	}
	return readCall(w, r, encoding, call)
}

// ReadBody reads the body of a request, which is bounded in size and in time.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) { return readBody(w, r) }

// Records is an answer of records, sent one by one.
type Records struct{ records }

// RecordIO is the media type of records that are sent one by one.
const RecordIO = "application/recordio"

// NewRecords begins an answer of records; framed: of the media type RecordIO.
func NewRecords(w http.ResponseWriter, encoding wire.Encoding, framed bool) *Records {
	out := &Records{records{to: w, rc: http.NewResponseController(w), slow: slowWrite, encoding: encoding, framed: framed}}
	out.begin("")
	return out
}

// Flush sends what was begun, so that the client has the head before the first record.
func (r *Records) Flush() error {
	r.rc.SetWriteDeadline(time.Now().Add(r.slow))
	return r.rc.Flush()
}

// Send writes one record, whole. Who does not take it in time is cut off.
func (r *Records) Send(message any) error { return r.send(message) }
