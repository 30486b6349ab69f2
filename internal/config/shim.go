package config

import "github.com/ussoio/ussoauthz/pkg/tenants"

func (b *block) Check(dir string) []tenants.Fault {
	if c, ok := any(&b.Config).(interface{ Check(string) []tenants.Fault }); ok {
		return c.Check(dir)
	}
	return nil
}
