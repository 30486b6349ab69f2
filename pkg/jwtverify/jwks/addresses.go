package jwks

import (
	"bytes"
	"fmt"
	"net/netip"
)

// An operator configures the URL of a key set, but a DNS answer, a redirect or the
// jwks_uri of a discovery document chooses the address that is connected to. Whoever
// controls one of those could make this service request the inside of the operator's
// network (server-side request forgery). So every address is checked when the
// connection is made.

// checkAddress returns an error for addresses that a key server never has: those of
// cloud metadata services above all. local says that the URL itself names loopback,
// where plain http is accepted; then the address must be loopback.
func checkAddress(ip netip.Addr, local, denyPrivate bool) error {
	ip = ip.WithZone("").Unmap()
	if local {
		if !ip.IsLoopback() {
			return fmt.Errorf("loopback host resolves to %s", ip)
		}
		return nil
	}
	if err := checkRange(ip, denyPrivate); err != nil {
		return err
	}
	// A gateway, or this machine's own tunnel, unwraps an IPv6 address and connects
	// to the IPv4 address inside: that one must pass as well.
	for _, inner := range embedded(ip) {
		if err := checkRange(inner, denyPrivate); err != nil {
			return fmt.Errorf("address %s leads to another: %w", ip, err)
		}
	}
	return nil
}

// checkRange checks the range of one address.
func checkRange(ip netip.Addr, denyPrivate bool) error {
	switch {
	case ip.IsLoopback():
		return fmt.Errorf("name resolves to loopback (%s): write localhost or the address in the URL", ip)
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast():
		return fmt.Errorf("address %s is link-local, multicast or unspecified: refused", ip)
	case within(ip, refusedRanges):
		return fmt.Errorf("address %s is reserved: refused", ip)
	case denyPrivate && (ip.IsPrivate() || within(ip, privateRanges)):
		return fmt.Errorf("address %s is private: refused", ip)
	}
	return nil
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// refusedRanges hold no key server, whatever a configuration allows.
var refusedRanges = prefixes(
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

// privateRanges are the ranges beyond netip's IsPrivate that the public internet does
// not route (the IANA special-purpose registries).
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

// embedded returns the IPv4 addresses inside an IPv6 address of one of the standard
// translations and tunnels. The prefix of a network's own NAT64 cannot be known here:
// jwks_deny_private and the network have to bound that.
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

// localNAT64 reads the four places where 64:ff9b:1::/48 can hold an address
// (RFC 6052, 2.2). Only the network knows which one it uses, and the other three are
// arbitrary bytes: so those that no host can have (0/8, multicast and above) are left
// out.
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
