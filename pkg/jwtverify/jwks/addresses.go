package jwks

import (
	"bytes"
	"net/netip"
)

// neverRanges are no key server's, whatever a configuration allows.
var neverRanges = prefixes(
	"0.0.0.0/8",              // "this network"
	"240.0.0.0/4",            // reserved, and broadcast
	"100.100.100.200/32",     // metadata of Alibaba Cloud
	"168.63.129.16/32",       // Azure's WireServer
	"192.0.0.192/32",         // metadata of Oracle Cloud
	"fd00:ec2::/32",          // of EC2
	"fd20:ce::254/128",       // of Google Cloud
	"fd00:c1::a9fe:a9fe/128", // of Oracle Cloud
	"fd00:42::42/128",        // of Scaleway
)

// privateRanges are beside netip's IsPrivate those that the public internet does
// not reach (the IANA special-purpose registries).
var privateRanges = prefixes(
	"100.64.0.0/10", // shared by carriers and clouds (RFC 6598)
	"192.0.0.0/24",  // RFC 6890
	"192.0.2.0/24",  // documentation (RFC 5737), as are the next two
	"198.51.100.0/24",
	"203.0.113.0/24",
	"198.18.0.0/15",  // benchmarks (RFC 2544)
	"fec0::/10",      // site-local (RFC 3879)
	"64:ff9b:1::/48", // NAT64 of one network (RFC 8215)
	"100::/64",       // discarded (RFC 6666)
	"2001:2::/48",    // benchmarks (RFC 5180)
	"2001:db8::/32",  // documentation (RFC 3849)
	"3fff::/20",      // documentation (RFC 9637)
	"5f00::/16",      // segment routing (RFC 9602)
)

func prefixes(list ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(list))
	for i, text := range list {
		parsed[i] = netip.MustParsePrefix(text)
	}
	return parsed
}

// embedded returns the IPv4 addresses that an IPv6 address leads to by one of the
// standard translations and tunnels. The prefix of a network's own NAT64 can't be
// known: jwks_deny_private and the network have to bound that.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	begins := func(prefix ...byte) bool { return bytes.HasPrefix(b[:], prefix) }
	switch {
	case begins(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0): // NAT64 (RFC 6052)
		return []netip.Addr{at(12)}
	case begins(0, 0x64, 0xff, 0x9b, 0, 1): // NAT64 of one network (RFC 8215)
		return localNAT64(b)
	case begins(0x20, 0x02): // 6to4 (RFC 3056)
		return []netip.Addr{at(2)}
	case begins(0x20, 0x01, 0, 0): // Teredo (RFC 4380): the server, and the client inverted
		return []netip.Addr{at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case begins(make([]byte, 12)...) && !ip.IsLoopback() && !ip.IsUnspecified(), // IPv4-compatible (RFC 4291, 2.5.5.1)
		begins(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0): // IPv4-translated (RFC 2765)
		return []netip.Addr{at(12)}
	case bytes.HasPrefix(b[8:], []byte{0, 0, 0x5e, 0xfe}), bytes.HasPrefix(b[8:], []byte{2, 0, 0x5e, 0xfe}): // ISATAP (RFC 5214)
		return []netip.Addr{at(12)}
	}
	return nil
}

// localNAT64 reads the four places that an address can have in 64:ff9b:1::/48
// (RFC 6052, 2.2): which one is meant its network alone knows, and three are no
// address at all. So only those count where something inside would answer.
func localNAT64(b [16]byte) (list []netip.Addr) {
	for _, inner := range [...][4]byte{
		{b[6], b[7], b[9], b[10]},    // of a /48
		{b[7], b[9], b[10], b[11]},   // of a /56
		{b[9], b[10], b[11], b[12]},  // of a /64
		{b[12], b[13], b[14], b[15]}, // of a /96
	} {
		ip := netip.AddrFrom4(inner)
		if inner[0] != 0 && inner[0] < 224 {
			list = append(list, ip)
		}
	}
	return list
}
