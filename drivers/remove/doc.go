// Package remove removes folders that others filled, however deep they made them.
package remove
