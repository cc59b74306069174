package structs

import "fmt"

// Nearest returns the option that word was probably meant to be, or "": the one with the fewest edits (letters added,
// removed, changed, or neighbours swapped), at most a third of the letters.
func Nearest(word string, options []string) string {
	best, found := len(word)/3+1, ""
	if len(word) > 128 {
		return ""
	}
	for _, option := range options {
		if d := edits(word, option, best); d < best || (d == best && found == "" && d <= max(1, len(word)/3)) {
			best, found = d, option
		}
	}
	return found
}

// didYouMean advises the nearest option, if there is one, on an error about word; otherwise it lists them.
func (e *Error) didYouMean(word string, options []string, list string) *Error {
	if near := Nearest(word, options); near != "" {
		return e.Advise("did you mean %q?", near)
	}
	return e.Advise("%s", fmt.Sprint(list))
}

// edits is the optimal string alignment distance of a and b, or anything above bound when it is above.
func edits(a, b string, bound int) int {
	if len(a)-len(b) > bound || len(b)-len(a) > bound {
		return bound + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
