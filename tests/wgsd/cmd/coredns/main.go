// SPDX-License-Identifier: GPL-2.0-or-later

// Command coredns is CoreDNS with the plugins that a registry needs: bind, errors, log and wgsd.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/log"

	_ "wgsdtest/plugin"
)

func main() {
	dnsserver.Directives = []string{"bind", "errors", "log", "wgsd"}
	coremain.Run()
}
