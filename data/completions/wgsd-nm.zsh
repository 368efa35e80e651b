#compdef wgsd-nm
# SPDX-License-Identifier: GPL-2.0-or-later
# Made by tools/completions.py of the program's own options.

_wgsd_nm_connections() {
    local -a found
    found=(${${(f)"$(nmcli --terse --fields TYPE,NAME connection show 2>/dev/null | sed -n 's/^wireguard://p')"}//(#m)\\?/${MATCH[2]}})
    compadd -a found
}

_wgsd_nm_devices() {
    local -a found
    found=(${(f)"$(grep --files-with-matches --no-messages DEVTYPE=wireguard /sys/class/net/*/uevent | cut --delimiter=/ --fields=5)"})
    compadd -a found
}

_wgsd_nm() {
    setopt localoptions extendedglob
    local context state line
    typeset -A opt_args
    _arguments -C \
        '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
        '(- *)--version[show program'\''s version number and exit]' \
        '1:command:->command' '*::argument:->argument'
    case $state in
    command)
        local -a commands
        commands=(
            'setup:have a tunnel looked after'
            'status:show tunnels and peers'
            'monitor:show what happens, as it happens'
            'doctor:say what is wrong and what to do'
            'refresh:look all peers up now'
            'lookup:look the peers of a device up once'
            'key:convert public keys between WireGuard and DNS'
        )
        _describe command commands
        ;;
    argument)
        case $words[1] in
        setup)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '--zone[the registry'\''s zone, like wg.example.com]:value: ' \
                '--registry[the registry; may be repeated]:value: ' \
                '--name[what a peer is called, and its public key; may be repeated]:value: ' \
                '--force[write it even if a check fails]' \
                '1:connection:_wgsd_nm_connections'
            ;;
        status)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '--json[print the agent'\''s properties as JSON]'
            ;;
        monitor)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '--json[print each event as one line of JSON]'
            ;;
        doctor)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '--json[print the findings as JSON]'
            ;;
        refresh)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '1:device:_wgsd_nm_devices'
            ;;
        lookup)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]' \
                '--device[the WireGuard device, like wg0]:value:_wgsd_nm_devices' \
                '--dns[the registry]:value: ' \
                '--zone[the registry'\''s zone, like wg.example.com]:value: ' \
                '--force[set the endpoints of peers with a working path too]' \
                '--dry-run[only say what would be set]' \
                '--json[print the result as JSON]' \
                '--quiet[print only what changes and what fails]'
            ;;
        key)
            _arguments \
                '(- *)-h[show this help message and exit]' '(- *)--help[show this help message and exit]'
            ;;
        esac
        ;;
    esac
}

_wgsd_nm "$@"
