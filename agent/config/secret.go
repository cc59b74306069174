package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret is text that is never printed: fmt, JSON and slog write "<secret>". Reveal gives it.
type Secret string

const redacted = "<secret>"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format writes the same for every verb.
func (s Secret) Format(f fmt.State, _ rune) { f.Write([]byte(s.String())) }

// MarshalJSON writes the same as String.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue writes the same as String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String writes c as JSON, without secrets.
func (c *Config) String() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
