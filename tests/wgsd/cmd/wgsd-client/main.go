// SPDX-License-Identifier: GPL-2.0-or-later

// Command wgsd-client is a stand-in for the client of github.com/jwhited/wgsd v0.3.6, defects included: it asks for
// each peer of a device once, one after the other, and has the kernel send to whatever is answered.
package main

import (
	"context"
	"encoding/base32"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"syscall"

	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

var (
	name   = flag.String("device", "", "the WireGuard device")
	server = flag.String("dns", "", "ADDRESS:PORT of the DNS server")
	zone   = flag.String("zone", "", "the zone of the peers")
)

func main() {
	flag.Parse()
	for option, value := range map[string]string{"device": *name, "dns": *server, "zone": *zone} {
		if value == "" {
			log.Fatalf("-%s is missing", option)
		}
	}
	if _, _, err := net.SplitHostPort(*server); err != nil {
		log.Fatalf("-dns: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := update(ctx); err != nil {
		log.Fatal(err)
	}
}

// Look every peer up and set what is found. What fails for one peer is logged; the status stays 0.
func update(ctx context.Context) error {
	kernel, err := wgctrl.New()
	if err != nil {
		return err
	}
	device, err := kernel.Device(*name)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", *name, err)
	}
	for _, peer := range device.Peers {
		if ctx.Err() != nil {
			return nil
		}
		endpoint, err := lookUp(ctx, peer.PublicKey)
		if err == nil {
			err = kernel.ConfigureDevice(*name, change(device, peer.PublicKey, endpoint))
		}
		if err != nil {
			log.Printf("%s: %v", peer.PublicKey, err)
		}
	}
	return nil
}

// The first answer's port at the first additional record's address. Panics on an answer that is no SRV record and
// on one without additional records.
func lookUp(ctx context.Context, key wgtypes.Key) (*net.UDPAddr, error) {
	instance := base32.StdEncoding.EncodeToString(key[:]) + "._wireguard._udp." + dns.Fqdn(*zone)
	query := new(dns.Msg).SetQuestion(instance, dns.TypeSRV)
	reply, _, err := new(dns.Client).ExchangeContext(ctx, query, *server)
	if err != nil {
		return nil, err
	}
	if len(reply.Answer) == 0 {
		return nil, fmt.Errorf("no SRV record, %s", dns.RcodeToString[reply.Rcode])
	}
	service, _ := reply.Answer[0].(*dns.SRV)
	switch host := reply.Extra[0].(type) {
	case *dns.A:
		return &net.UDPAddr{IP: host.A, Port: int(service.Port)}, nil
	case *dns.AAAA:
		return &net.UDPAddr{IP: host.AAAA, Port: int(service.Port)}, nil
	default:
		return nil, fmt.Errorf("first of the additional records is no address: %s", host)
	}
}

// The endpoint is written even if the kernel has the same, and the private key goes along.
func change(device *wgtypes.Device, key wgtypes.Key, endpoint *net.UDPAddr) wgtypes.Config {
	peer := wgtypes.PeerConfig{PublicKey: key, UpdateOnly: true, Endpoint: endpoint}
	config := wgtypes.Config{PrivateKey: &device.PrivateKey, Peers: []wgtypes.PeerConfig{peer}}
	if device.FirewallMark > 0 {
		config.FirewallMark = &device.FirewallMark
	}
	return config
}
