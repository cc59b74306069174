package http

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/proffer/proffer/structs"
)

// ErrorBody is what a failed request is answered with.
type ErrorBody struct {
	*structs.Error
	RequestID string `json:"request_id"`
}

// refusal is an error that has a status of its own instead of that of its kind.
type refusal struct {
	cause  *structs.Error
	status int
}

func (r *refusal) Error() string { return r.cause.Error() }

// Unwrap makes structs.KindOf find the error.
func (r *refusal) Unwrap() error { return r.cause }

func refuse(status int, kind structs.Kind, object, format string, args ...any) *refusal {
	return &refusal{structs.Errorf(kind, object, format, args...), status}
}

func (r *refusal) advise(format string, args ...any) *refusal {
	r.cause.Advise(format, args...)
	return r
}

// Status returns the HTTP status of a kind.
func Status(kind structs.Kind) int {
	switch kind {
	case structs.NotFound:
		return http.StatusNotFound
	case structs.Invalid:
		return http.StatusBadRequest
	case structs.Conflict:
		return http.StatusConflict
	case structs.Forbidden:
		return http.StatusForbidden
	case structs.Unavailable:
		return http.StatusServiceUnavailable
	case structs.Unknown:
		return http.StatusGatewayTimeout
	case structs.Exhausted:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// writeError answers with err. Nothing may have been written before.
func writeError(w http.ResponseWriter, id string, err error) {
	e := structs.AsError(err)
	status := Status(e.Kind)
	if own := (*refusal)(nil); errors.As(err, &own) {
		status = own.status
	}
	if e.Kind == structs.Exhausted || e.Kind == structs.Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	raw, _ := json.Marshal(ErrorBody{e, id}) // strings only: it cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(raw, '\n'))
}
