package mesos

import (
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
)

func TestAttributes(t *testing.T) {
	for text, want := range map[string]string{
		"r1": "", "": "", "7": `"type":"SCALAR","scalar":{"value":7.0}`, "0": `"type":"SCALAR","scalar":{"value":0.0}`, "2.5": `"type":"SCALAR","scalar":{"value":2.5}`,
		"1.10": "", "007": "", "-1": "", "1e5": "", "0x10": "", "Infinity": "", "nan": "", "1_000": "", "1.2.3": "", " 7": "", "7 ": "",
		"[1-10, 20-30]": `"type":"RANGES","ranges":{"range":[{"begin":1,"end":10},{"begin":20,"end":30}]}`,
		"[1-10,12-12]":  `"type":"RANGES","ranges":{"range":[{"begin":1,"end":10},{"begin":12,"end":12}]}`,
		"[]":            "", "[1]": "", "[1-10": "", "[10-1]": "", "[1-10, 11-12]": "", "[5-6, 1-2]": "", "[a-b]": "", "[1--2]": "", "[-1-2]": "",
		"[1-9007199254740992]": `"type":"RANGES","ranges":{"range":[{"begin":1,"end":9007199254740992}]}`, "[1-18446744073709551615]": "", "[[1-2]]": "",
		"[1-2], [3-4]": "", "{a, b}": "",
	} {
		if want == "" {
			want = `"type":"TEXT","text":{"value":"` + text + `"}`
		}
		a := attributeOf("a", text)
		if got := string(wire.JSON.Marshal(&a)); got != `{"name":"a",`+want+"}" {
			t.Errorf("%q is %s", text, got)
		}
	}
}
