# SPDX-License-Identifier: GPL-2.0-or-later
# Made by tools/completions.py of the program's own options.

_wgsd_nm_connections() {
    nmcli --terse --fields TYPE,NAME connection show 2>/dev/null | sed -n 's/^wireguard://p' | sed 's/\\\(.\)/\1/g'
}

_wgsd_nm_devices() {
    grep --files-with-matches --no-messages DEVTYPE=wireguard /sys/class/net/*/uevent | cut --delimiter=/ --fields=5
}

_wgsd_nm() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    COMPREPLY=()
    while IFS= read -r word; do
        word=$(printf '%q' "$word")
        if [[ $word == "$current"* ]]; then
            COMPREPLY+=("$word")
        fi
    done < <(_wgsd_nm_words "$command" "$previous" "$current")
}

_wgsd_nm_words() {
    case $1:$2 in
        setup:--zone) return ;;
        setup:--registry) return ;;
        setup:--name) return ;;
        lookup:--device) _wgsd_nm_devices && return ;;
        lookup:--dns) return ;;
        lookup:--zone) return ;;
    esac
    case $1:$3 in
        :-*) printf '%s\n' -h --help --version ;;
        :*) printf '%s\n' setup status monitor doctor refresh lookup key ;;
        setup:-*) printf '%s\n' -h --help --zone --registry --name --force ;;
        setup:*) _wgsd_nm_connections ;;
        status:-*) printf '%s\n' -h --help --json ;;
        status:*) printf '%s\n' -h --help --json ;;
        monitor:-*) printf '%s\n' -h --help --json ;;
        monitor:*) printf '%s\n' -h --help --json ;;
        doctor:-*) printf '%s\n' -h --help --json ;;
        doctor:*) printf '%s\n' -h --help --json ;;
        refresh:-*) printf '%s\n' -h --help ;;
        refresh:*) _wgsd_nm_devices ;;
        lookup:-*) printf '%s\n' -h --help --device --dns --zone --force --dry-run --json --quiet ;;
        lookup:*) printf '%s\n' -h --help --device --dns --zone --force --dry-run --json --quiet ;;
        key:-*) printf '%s\n' -h --help ;;
    esac
}

complete -F _wgsd_nm wgsd-nm
