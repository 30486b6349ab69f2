package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// orders is a body as an application has it.
func orders(n int) []byte {
	var list []any
	for i := range n {
		list = append(list, map[string]any{
			"id": fmt.Sprintf("ord_%08x", i*2654435761), "customerName": fmt.Sprint("Customer No. ", i), "status": "open", "total": float64(i) + 0.99,
			"items": []any{map[string]any{"sku": fmt.Sprint("sku-", i%50), "count": i % 7, "giftWrap": i%2 == 0, "note": nil}},
		})
	}
	text, _ := json.Marshal(map[string]any{"orders": list})
	return text
}

// BenchmarkJSONBody compares with what OPA's own functions take.
func BenchmarkJSONBody(b *testing.B) {
	ids := map[string]any{}
	for i := range 5000 {
		ids[fmt.Sprintf("Id-%08x", i*2654435761)] = true
	}
	wide, _ := json.Marshal(ids)
	for name, text := range map[string][]byte{
		"small": []byte(`{"title": "hello", "tags": ["a", "b"], "count": 3, "draft": false}`), "orders": orders(100), "many orders": orders(2000), "wide": wide,
		"numbers": []byte("[" + strings.Repeat("12.75,", 20_000) + "1]"),
	} {
		b.Run(name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := (&jsonReader{names: DefaultObjectNames}).read(text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/OPA's", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var v any
				if err := util.UnmarshalJSON(text, &v); err != nil {
					b.Fatal(err)
				}
				if _, err := ast.InterfaceToValue(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
