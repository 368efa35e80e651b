// SPDX-License-Identifier: GPL-2.0-or-later

// Package plugin is a stand-in for the CoreDNS plugin of github.com/jwhited/wgsd v0.3.6, defects included. It answers
// octet for octet as that does, so that our registry's answers can be compared with wgsd's where the module itself
// cannot be had. Nothing here is meant to be right.
package plugin

import (
	"fmt"
	"net"
	"strconv"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	coredns "github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/wgctrl"
)

const directive = "wgsd"

func init() {
	coredns.Register(directive, register)
}

// A site is one `wgsd ZONE DEVICE` of the Corefile.
type site struct {
	device string
	self   *published // nil where the block has no `self`
}

// What `self [ADDRESS:PORT] [PREFIX ...]` says of the device itself. Without an endpoint it is where the query came to.
type published struct {
	endpoint *net.UDPAddr
	allowed  []net.IPNet
}

func register(c *caddy.Controller) error {
	served := &server{sites: map[string]site{}}
	for c.Next() {
		if err := served.add(c); err != nil {
			return coredns.Error(directive, err)
		}
	}
	devices, err := wgctrl.New()
	if err != nil {
		return coredns.Error(directive, err)
	}
	served.devices = devices
	c.OnFinalShutdown(devices.Close)
	dnsserver.GetConfig(c).AddPlugin(func(next coredns.Handler) coredns.Handler {
		served.next = next
		return served
	})
	return nil
}

// The zone keeps the case in which it is written: one with a capital never matches what is asked, which is lower case.
func (s *server) add(c *caddy.Controller) error {
	words := c.RemainingArgs()
	if len(words) != 2 {
		return c.ArgErr()
	}
	zone, found := dns.Fqdn(words[0]), site{device: words[1]}
	if _, twice := s.sites[zone]; twice {
		return fmt.Errorf("zone %s is there twice", zone)
	}
	for c.NextBlock() {
		if c.Val() != "self" {
			return c.ArgErr()
		}
		self, err := parseSelf(c.RemainingArgs())
		if err != nil {
			return err
		}
		found.self = self
	}
	s.sites[zone] = found
	s.zones = append(s.zones, zone)
	return nil
}

func parseSelf(words []string) (*published, error) {
	self := &published{}
	if len(words) > 0 {
		if host, port, err := net.SplitHostPort(words[0]); err == nil {
			number, err := strconv.Atoi(port)
			if err != nil {
				return nil, fmt.Errorf("the port of self: %w", err)
			}
			address := net.ParseIP(host)
			if address == nil {
				return nil, fmt.Errorf("the address of self is no IP address: %s", host)
			}
			self.endpoint = &net.UDPAddr{IP: address, Port: number}
			words = words[1:]
		}
	}
	for _, word := range words {
		_, prefix, err := net.ParseCIDR(word)
		if err != nil {
			return nil, fmt.Errorf("an allowed IP of self: %w", err)
		}
		self.allowed = append(self.allowed, *prefix)
	}
	return self, nil
}
