// SPDX-License-Identifier: GPL-2.0-or-later
// A message bus of the tests' own, which can start the programs that a folder's service files name.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

const CONFIGURATION = (socket, services) => `<!DOCTYPE busconfig
 PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <servicedir>${services}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;

/** `folder` is for whatever the tests write; stop() removes it. A test that breaks off takes the bus with it. */
export class Bus {
    constructor() {
        this.folder = GLib.dir_make_tmp('wgsd-nm-XXXXXX');
        this.services = `${this.folder}/services`;
        GLib.mkdir_with_parents(this.services, 0o700);
        GLib.file_set_contents(`${this.folder}/bus.conf`, CONFIGURATION(`${this.folder}/bus`, this.services));
        this._daemon = Gio.Subprocess.new(
            [
                'setpriv', '--pdeathsig', 'KILL', 'dbus-daemon', `--config-file=${this.folder}/bus.conf`,
                '--nofork', '--nopidfile', '--print-address',
            ],
            Gio.SubprocessFlags.STDOUT_PIPE | Gio.SubprocessFlags.STDERR_SILENCE);
        const output = new Gio.DataInputStream({base_stream: this._daemon.get_stdout_pipe()});
        [this.address] = output.read_line_utf8(null);
    }

    stop() {
        this._daemon.force_exit();
        this._daemon.wait(null);
        Gio.Subprocess.new(['rm', '-r', this.folder], Gio.SubprocessFlags.NONE).wait(null);
    }
}
