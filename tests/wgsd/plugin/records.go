// SPDX-License-Identifier: GPL-2.0-or-later

package plugin

import (
	"encoding/base32"
	"strings"

	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// The owner is the question's name in lower case.
func header(asked request.Request, rdtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: asked.Name(), Rrtype: rdtype, Class: dns.ClassINET}
}

func pointerRecord(asked request.Request, peer wgtypes.Peer) dns.RR {
	label := strings.ToLower(base32.StdEncoding.EncodeToString(peer.PublicKey[:]))
	return &dns.PTR{Hdr: header(asked, dns.TypePTR), Ptr: label + "." + service + asked.Zone}
}

func serviceRecord(asked request.Request, peer wgtypes.Peer) dns.RR {
	return &dns.SRV{Hdr: header(asked, dns.TypeSRV), Port: uint16(peer.Endpoint.Port), Target: asked.Name()}
}

// Nil for a peer without an endpoint.
func hostRecord(asked request.Request, peer wgtypes.Peer) dns.RR {
	if peer.Endpoint == nil {
		return nil
	}
	ip := peer.Endpoint.IP
	switch {
	case ip.To4() != nil:
		return &dns.A{Hdr: header(asked, dns.TypeA), A: ip}
	case ip.To16() != nil:
		return &dns.AAAA{Hdr: header(asked, dns.TypeAAAA), AAAA: ip}
	}
	return nil
}

// All allowed IPs are in one string, however long it gets.
func textRecord(asked request.Request, peer wgtypes.Peer) dns.RR {
	prefixes := make([]string, len(peer.AllowedIPs))
	for i := range peer.AllowedIPs {
		prefixes[i] = peer.AllowedIPs[i].String()
	}
	strings := []string{"txtvers=1", "pub=" + peer.PublicKey.String(), "allowed=" + strings.Join(prefixes, ",")}
	return &dns.TXT{Hdr: header(asked, dns.TypeTXT), Txt: strings}
}

func authority(zone string) dns.RR {
	return &dns.SOA{
		Hdr:    dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:     "ns1." + zone,
		Mbox:   "postmaster." + zone,
		Serial: 1, Refresh: 86400, Retry: 7200, Expire: 3600000, Minttl: 60,
	}
}
