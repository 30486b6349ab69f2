package decisionlog

import "maps"

// event is a record in the schema of OPA's decision log service, which OPA's
// mask policies read too: what is ours stands under result.
func event(record map[string]any, labels map[string]any) map[string]any {
	result := maps.Clone(record)
	e := map[string]any{"labels": labels, "path": "ussoauthz", "result": result}
	move := func(from, to string) {
		if v, ok := result[from]; ok {
			e[to] = v
			delete(result, from)
		}
	}
	move("time", "timestamp")
	move("decision_id", "decision_id")
	move("trace_id", "trace_id")
	move("policy_revision", "revision")
	move("input", "input")
	move("erased", "erased")
	move("masked", "masked")
	metrics := map[string]any{}
	if took, ok := result["took_ns"]; ok {
		metrics["timer_server_handler_ns"] = took
		delete(result, "took_ns")
	}
	if stages, ok := result["stages_ns"].(map[string]any); ok {
		for name, took := range stages {
			metrics["timer_ussoauthz_"+name+"_ns"] = took
		}
		delete(result, "stages_ns")
	}
	e["metrics"] = metrics
	return e
}
