package policy

import (
	"fmt"
	"log/slog"

	"github.com/open-policy-agent/opa/v1/logging"
)

// opaLog writes what OPA's plugins warn of into our log. Their errors reach it
// through Bundles, once each and without secrets; what they say at debug shows
// headers and whole answers, and at info each step of a poll.
type opaLog struct{ log *slog.Logger }

func newOPALog(log *slog.Logger) logging.Logger { return opaLog{log} }

func (l opaLog) Debug(string, ...any) {}
func (l opaLog) Info(string, ...any)  {}
func (l opaLog) Error(string, ...any) {}
func (l opaLog) Warn(format string, args ...any) {
	l.log.Warn(withoutQuery(fmt.Sprintf(format, args...)))
}
func (l opaLog) WithFields(map[string]any) logging.Logger { return l }
func (l opaLog) GetLevel() logging.Level                  { return logging.Warn }
func (l opaLog) SetLevel(logging.Level)                   {}
