// SPDX-License-Identifier: GPL-2.0-or-later

package plugin

import (
	"context"
	"encoding/base32"
	"net"
	"strings"

	coredns "github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

const (
	service     = "_wireguard._udp."
	labelLength = 56 // of a key in base32, with its padding
)

// A server answers for its sites, and reads a site's whole device for each question that a peer could answer.
type server struct {
	next    coredns.Handler
	devices *wgctrl.Client
	zones   []string
	sites   map[string]site
}

// Name is what CoreDNS calls the plugin.
func (s *server) Name() string {
	return directive
}

// ServeDNS answers one query, or leaves it to the next plugin if it belongs to no zone.
func (s *server) ServeDNS(ctx context.Context, w dns.ResponseWriter, query *dns.Msg) (int, error) {
	asked := request.Request{W: w, Req: query}
	asked.Zone = coredns.Zones(s.zones).Matches(asked.Name())
	if asked.Zone == "" {
		return coredns.NextOrFailure(directive, s.next, ctx, w, query)
	}
	find := finder(strings.TrimSuffix(asked.Name(), asked.Zone), asked.QType())
	if find == nil {
		return deny(asked)
	}
	peers, err := s.peers(asked)
	if err != nil {
		return dns.RcodeServerFailure, err
	}
	answer, additional := find(asked, peers)
	if additional == nil {
		return deny(asked)
	}
	reply := replyTo(asked)
	reply.Answer, reply.Extra = answer, additional
	return send(asked, reply)
}

func (s *server) peers(asked request.Request) ([]wgtypes.Peer, error) {
	site := s.sites[asked.Zone]
	device, err := s.devices.Device(site.device)
	if err != nil {
		return nil, err
	}
	peers := device.Peers
	if site.self != nil {
		endpoint := site.self.endpoint
		if endpoint == nil {
			endpoint = &net.UDPAddr{IP: net.ParseIP(asked.LocalIP()), Port: device.ListenPort}
		}
		self := wgtypes.Peer{PublicKey: device.PublicKey, Endpoint: endpoint, AllowedIPs: site.self.allowed}
		peers = append(peers, self)
	}
	return peers, nil
}

// A find returns the records of the answer and additional sections; no additional section at all (nil, not an empty
// one) means that there is no such name.
type find func(asked request.Request, peers []wgtypes.Peer) (answer, additional []dns.RR)

// The finder for a name relative to its zone, nil for what is denied without a look at the device. Of a peer's name
// only the length is tested: `KEY._wireguard._tcp.` passes.
func finder(name string, rdtype uint16) find {
	if rdtype == dns.TypePTR && name == service {
		return browse
	}
	if len(name) != labelLength+len(".")+len(service) {
		return nil
	}
	switch rdtype {
	case dns.TypeSRV:
		return locate
	case dns.TypeA, dns.TypeAAAA:
		return address
	case dns.TypeTXT:
		return describe
	}
	return nil
}

func browse(asked request.Request, peers []wgtypes.Peer) ([]dns.RR, []dns.RR) {
	var answer []dns.RR
	for _, peer := range peers {
		if peer.Endpoint != nil {
			answer = append(answer, pointerRecord(asked, peer))
		}
	}
	return answer, []dns.RR{}
}

func locate(asked request.Request, peers []wgtypes.Peer) ([]dns.RR, []dns.RR) {
	peer, host := named(asked, peers)
	if host == nil {
		return nil, nil
	}
	return []dns.RR{serviceRecord(asked, peer)}, []dns.RR{host, textRecord(asked, peer)}
}

// The address record is of the family that the peer has, whichever of the two was asked for.
func address(asked request.Request, peers []wgtypes.Peer) ([]dns.RR, []dns.RR) {
	_, host := named(asked, peers)
	if host == nil {
		return nil, nil
	}
	return []dns.RR{host}, []dns.RR{}
}

func describe(asked request.Request, peers []wgtypes.Peer) ([]dns.RR, []dns.RR) {
	peer, host := named(asked, peers)
	if host == nil {
		return nil, nil
	}
	return []dns.RR{textRecord(asked, peer)}, []dns.RR{}
}

// The peer that the name's first 56 octets are the key of, and its address record: nil if there is none of the two.
func named(asked request.Request, peers []wgtypes.Peer) (wgtypes.Peer, dns.RR) {
	label := asked.Name()[:labelLength]
	for _, peer := range peers {
		if strings.EqualFold(base32.StdEncoding.EncodeToString(peer.PublicKey[:]), label) {
			return peer, hostRecord(asked, peer)
		}
	}
	return wgtypes.Peer{}, nil
}

func deny(asked request.Request) (int, error) {
	reply := replyTo(asked)
	reply.Rcode = dns.RcodeNameError
	reply.Ns = []dns.RR{authority(asked.Zone)}
	return send(asked, reply)
}

func replyTo(asked request.Request) *dns.Msg {
	reply := new(dns.Msg).SetReply(asked.Req)
	reply.Authoritative = true
	return reply
}

// What cannot be packed, such as a string of more than 255 octets, is never sent, and nobody is told.
func send(asked request.Request, reply *dns.Msg) (int, error) {
	_ = asked.W.WriteMsg(reply)
	return dns.RcodeSuccess, nil
}
