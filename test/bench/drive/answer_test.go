package drive_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ussoio/ussoauthz/test/bench/drive"
)

func answer(t *testing.T, code int32, metadata map[string]any) []byte {
	t.Helper()
	fields, err := structpb.NewStruct(metadata)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&authv3.CheckResponse{
		Status:          &status.Status{Code: code, Message: "reason"},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		DynamicMetadata: fields,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the driver picks out of the bytes is what the generated types say.
func TestWant(t *testing.T) {
	usual := map[string]any{"reason": "allowed", "tenant": "t0", "sub": "reason"}
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  drive.Want
		fits  bool
	}{
		{"allowed", answer(t, 0, usual), drive.Want{Reason: "allowed"}, true},
		{"allowed, reason not asked for", answer(t, 0, usual), drive.Want{}, true},
		{"the fixed OK of a floor", answer(t, 0, nil), drive.Want{}, true},
		{"denied, as it should be", answer(t, 16, map[string]any{"reason": "token_invalid"}), drive.Want{Code: 16, Reason: "token_invalid"}, true},
		{"allowed where it should be denied", answer(t, 0, usual), drive.Want{Code: 16}, false},
		{"denied where it should be allowed", answer(t, 7, usual), drive.Want{}, false},
		{"the rarer answer", answer(t, 16, map[string]any{"reason": "token_invalid"}), drive.Want{Code: 14, Reason: "keys_unavailable", Or: &drive.Want{Code: 16, Reason: "token_invalid"}}, true},
		{"the rarer answer with another reason", answer(t, 16, map[string]any{"reason": "token_expired"}), drive.Want{Code: 14, Or: &drive.Want{Code: 16, Reason: "token_invalid"}}, false},
		{"neither of two", answer(t, 0, usual), drive.Want{Code: 14, Or: &drive.Want{Code: 16}}, false},
		{"another reason", answer(t, 0, usual), drive.Want{Reason: "public"}, false},
		{"a reason that only begins so", answer(t, 0, map[string]any{"reason": "allowed_all"}), drive.Want{Reason: "allowed"}, false},
		{"the reason elsewhere", answer(t, 0, map[string]any{"sub": "allowed"}), drive.Want{Reason: "allowed"}, false},
		{"no metadata", answer(t, 0, nil), drive.Want{Reason: "allowed"}, false},
		{"cut off", answer(t, 0, usual)[:20], drive.Want{}, false},
		{"no protobuf", []byte("\xff\xff\xff"), drive.Want{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.want.Check(tt.bytes); (err == nil) != tt.fits {
				t.Errorf("fits is %v: %v", err == nil, err)
			}
		})
	}
}
