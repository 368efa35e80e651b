# SPDX-License-Identifier: GPL-2.0-or-later
# Made by tools/completions.py of the program's own options.

function __wgsd_nm_connections
    nmcli --terse --fields TYPE,NAME connection show 2>/dev/null | sed -n 's/^wireguard://p' | string replace --all --regex '\\\\(.)' '$1'
end

function __wgsd_nm_devices
    set --local found /sys/class/net/*/uevent
    grep --files-with-matches --no-messages DEVTYPE=wireguard $found | string split --fields 5 /
end

complete --command wgsd-nm --no-files
complete --command wgsd-nm --condition __fish_use_subcommand --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition __fish_use_subcommand --long-option version --description 'show program'\''s version number and exit'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments setup --description 'have a tunnel looked after'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments status --description 'show tunnels and peers'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments monitor --description 'show what happens, as it happens'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments doctor --description 'say what is wrong and what to do'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments refresh --description 'look all peers up now'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments lookup --description 'look the peers of a device up once'
complete --command wgsd-nm --condition __fish_use_subcommand --arguments key --description 'convert public keys between WireGuard and DNS'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --long-option zone --require-parameter --description 'the registry'\''s zone, like wg.example.com'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --long-option registry --require-parameter --description 'the registry; may be repeated'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --long-option name --require-parameter --description 'what a peer is called, and its public key; may be repeated'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --long-option force --description 'write it even if a check fails'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from setup' --arguments '(__wgsd_nm_connections)'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from status' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from status' --long-option json --description 'print the agent'\''s properties as JSON'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from monitor' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from monitor' --long-option json --description 'print each event as one line of JSON'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from doctor' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from doctor' --long-option json --description 'print the findings as JSON'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from refresh' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from refresh' --arguments '(__wgsd_nm_devices)'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option help --short-option h --description 'show this help message and exit'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option device --require-parameter --arguments '(__wgsd_nm_devices)' --description 'the WireGuard device, like wg0'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option dns --require-parameter --description 'the registry'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option zone --require-parameter --description 'the registry'\''s zone, like wg.example.com'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option force --description 'set the endpoints of peers with a working path too'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option dry-run --description 'only say what would be set'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option json --description 'print the result as JSON'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from lookup' --long-option quiet --description 'print only what changes and what fails'
complete --command wgsd-nm --condition '__fish_seen_subcommand_from key' --long-option help --short-option h --description 'show this help message and exit'
