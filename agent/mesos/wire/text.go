package wire

// Optional is a text that is left out when it is empty.
func Optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// TextOf is a text that may be left out; it is empty then.
func TextOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
