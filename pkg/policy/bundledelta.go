package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// applyDelta makes a bundle from one and the changes to its data. OPA's reader
// has seen to it that they stay within the delta's roots.
func applyDelta(ctx context.Context, base *held, delta *bundle.Bundle) (*bundle.Bundle, error) {
	if base == nil {
		return nil, errors.New("the server sent changes to a bundle that was never there")
	}
	if roots := delta.Manifest.Roots; roots != nil && !slices.Equal(slices.Sorted(slices.Values(*roots)), slices.Sorted(slices.Values(base.roots()))) {
		return nil, fmt.Errorf("the changes are for the roots %q, the bundle has %q", *roots, base.roots())
	}
	var documents any
	store := inmem.NewFromObject(base.Data) // a copy
	err := storage.Txn(ctx, store, storage.WriteParams, func(txn storage.Transaction) (err error) {
		for _, change := range delta.Patch.Data {
			if err := applyChange(ctx, store, txn, change); err != nil {
				return fmt.Errorf("%s %s: %w", change.Op, change.Path, err)
			}
		}
		documents, err = store.Read(ctx, txn, storage.RootPath)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("applying the changes to the bundle's data: %w", err)
	}
	changed := *base.Bundle
	changed.Data, _ = documents.(map[string]any)
	changed.Manifest.Revision = delta.Manifest.Revision
	return &changed, nil
}

func applyChange(ctx context.Context, store storage.Store, txn storage.Transaction, change bundle.PatchOperation) error {
	path, _ := storage.ParsePathEscaped("/" + strings.Trim(change.Path, "/")) // empty where it is none
	if len(path) == 0 {
		return errors.New("is no path")
	}
	var op storage.PatchOp = storage.ReplaceOp
	switch change.Op {
	case "upsert":
		op = storage.AddOp
		if _, err := store.Read(ctx, txn, path[:len(path)-1]); storage.IsNotFound(err) {
			if err := storage.MakeDir(ctx, store, txn, path[:len(path)-1]); err != nil {
				return err
			}
		}
	case "remove":
		op = storage.RemoveOp
	case "replace":
	default:
		return errors.New("is no operation")
	}
	return store.Write(ctx, txn, op, path, change.Value)
}
