package tenants_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	json2 "github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Whatever prints a secret, or what holds one, prints a placeholder: in every
// form that fmt has, in JSON, YAML, logs, errors and panics.
func TestSecretNeverPrints(t *testing.T) {
	c := base()
	withKey(secret, "HS256")(&c)
	const inPanic = "USSOAUTHZ_TEST_PANIC"
	switch os.Getenv(inPanic) {
	case "secret":
		panic(c.Key)
	case "error":
		panic(fmt.Errorf("a secret %v", c.Key))
	case "configuration":
		panic(c)
	}
	tenant, err := c.Build("", tenants.Shared{})
	if err != nil {
		t.Fatal(err)
	}
	defer tenant.Close()
	holders := map[string]any{
		"a secret": c.Key, "a pointer": &c.Key, "a configuration": c, "a pointer to one": &c, "a list": []tenants.Secret{c.Key},
		"a map": map[string]any{"k": c.Key}, "a map's key": map[tenants.Secret]int{c.Key: 1}, "a tenant": tenant,
		"a field that is not exported": struct{ s tenants.Secret }{c.Key}, "a list in one": struct{ s []tenants.Secret }{[]tenants.Secret{c.Key}},
	}
	printed := map[string]string{"in an error": fmt.Errorf("key %w, %v", errors.New(fmt.Sprint(c.Key)), c.Key).Error()}
	for name, value := range holders {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%p", "%z", "%40v"} {
			printed[name+" by "+verb] = fmt.Sprintf(verb, value)
		}
		if name == "a tenant" { // it has functions, which can't be marshaled
			continue
		}
		for by, marshal := range map[string]func(any) ([]byte, error){
			"JSON": json.Marshal, "indented JSON": func(v any) ([]byte, error) { return json.MarshalIndent(v, "", " ") },
			"JSON of the other library": func(v any) ([]byte, error) { return json2.Marshal(v, json2.Deterministic(true)) }, "YAML": yaml.Marshal,
		} {
			text, err := marshal(value)
			if err != nil && !strings.Contains(err.Error(), "time.Duration") && !strings.Contains(err.Error(), "exported") { // which the other library does not marshal
				t.Errorf("%s as %s: %v", name, by, err)
			}
			printed[name+" as "+by] = fmt.Sprint(string(text), err)
		}
	}
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"a log of text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"a log of JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var out strings.Builder
		log := slog.New(handler(&out))
		for what, value := range holders {
			log.With(what, value).WithGroup("g").Info("x", what, value, slog.Group("h", what, value), slog.Any("i", []any{value}))
		}
		printed[name] = out.String()
	}
	for _, of := range []string{"secret", "error", "configuration"} {
		dying := exec.Command(os.Args[0], "-test.run=^TestSecretNeverPrints$")
		dying.Env = append(os.Environ(), inPanic+"="+of, "GOTRACEBACK=all")
		text, err := dying.CombinedOutput()
		if err == nil || !strings.Contains(string(text), "panic: ") || !strings.Contains(string(text), "goroutine ") {
			t.Errorf("it does not die of a %s: %v %s", of, err, text)
		}
		printed["a panic with a "+of] = string(text)
	}
	decimal := strings.Trim(fmt.Sprint([]byte(secret)), "[]")
	for name, text := range printed {
		plain := strings.ToLower(strings.NewReplacer(" ", "", "0x", "", ",", "").Replace(text))
		if text == "" || strings.Contains(text, secret) || strings.Contains(text, decimal) || strings.Contains(plain, hex.EncodeToString([]byte(secret))) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestSecret(t *testing.T) {
	some, same, other, none := tenants.NewSecret("a"), tenants.NewSecret("a"), tenants.NewSecret("b"), tenants.NewSecret("")
	if some.Reveal() != "a" || none.Reveal() != "" || some.IsZero() || !none.IsZero() || none != (tenants.Secret{}) {
		t.Error("what goes in does not come out")
	}
	if !some.Equal(same) || some.Equal(other) || some.Equal(none) || !none.Equal(tenants.Secret{}) {
		t.Error("secrets are equal by their text")
	}
}
