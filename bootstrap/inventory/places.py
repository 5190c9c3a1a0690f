"""What a scan of an inventory finds: places of hosts, groups and variables, and what cannot be right."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootstrap.inventory.bounds import MOST_HOSTS, host_count


@dataclass(frozen=True, slots=True)
class Definition:
    """A variable as written. `form` is host-line, ini-vars or yaml: each has its own way of quoting."""

    name: str
    raw: str
    scope: str  # host | group
    owner: str  # host pattern or group name
    path: str
    line: int
    form: str


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A host, or a range of hosts, listed in a group."""

    pattern: str
    group: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """The first place at which a group is named as one that holds hosts or other groups."""

    name: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file, where Ansible names no line, or says nothing at all.

    One that is `fatal` is kept from Ansible: it would take all memory, or for ever, or say something that misleads.
    One that is `silent` is refused although Ansible reads the file. `owner` is whose variables the file holds.
    """

    message: str
    path: str
    line: int
    fatal: bool = False
    silent: bool = False
    fix: str = ""
    owner: str = ""


@dataclass(slots=True)
class Scan:
    """All that was found, in the order of the files."""

    hosts: list[HostEntry] = field(default_factory=list)
    groups: list[GroupEntry] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    yaml_files: set[str] = field(default_factory=set)

    def extend(self, other: Scan) -> None:
        """Add what another file holds."""
        self.hosts += other.hosts
        self.groups += other.groups
        self.definitions += other.definitions
        self.faults += other.faults
        self.yaml_files |= other.yaml_files

    def add_host(self, entry: HostEntry) -> None:
        """Add a host, unless it stands for more than can be."""
        count = host_count(entry.pattern)
        if count > MOST_HOSTS:
            words = f"`{entry.pattern[:60]}` stands for {count} hosts or more; {MOST_HOSTS} are the most"
            self.faults.append(Fault(words, entry.path, entry.line, fatal=True))
        else:
            self.hosts.append(entry)
