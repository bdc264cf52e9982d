"""The scripts that make a shell ask `berth __complete`, and where each shell looks for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """*path*: below the directory that *variable* names, or *fallback* below the home directory. *hint*: for who installed it."""

    text: str
    variable: str
    fallback: str
    path: str
    hint: str


_BASH = r"""# Completion of berth for bash. Made by `berth completion bash`.
_berth_completion() {
    local current="${COMP_WORDS[COMP_CWORD]}"
    local -a reply
    mapfile -t reply < <("${COMP_WORDS[0]}" __complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=("${reply[@]:1}")
    case "${reply[0]}" in
        nospace) compopt -o nospace ;;
        file) compopt -o default ;;
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        command) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
    esac
}
complete -F _berth_completion berth
"""

_ZSH = r"""#compdef berth
# Completion of berth for zsh. Made by `berth completion zsh`.
_berth() {
    local -a reply offered
    local line
    reply=("${(@f)$("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${(@)reply[2,-1]}"; do
        offered+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    case "${reply[1]}" in
        nospace) _describe -t berth berth offered -S '' ;;
        file) _files ;;
        directory) _files -/ ;;
        command) _command_names -e ;;
        *) _describe -t berth berth offered ;;
    esac
}
if [[ "${zsh_eval_context[-1]}" == loadautofunc ]]; then
    _berth "$@"
else
    compdef _berth berth
fi
"""

_FISH = r"""# Completion of berth for fish. Made by `berth completion fish`.
function __berth_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l reply ($words[1] __complete fish $words[2..-1] "$current" 2>/dev/null)
    switch "$reply[1]"
        case file
            __fish_complete_path "$current"
        case directory
            __fish_complete_directories "$current"
        case command
            complete --do-complete "$current"
        case '*'
            printf '%s\n' $reply[2..-1]
    end
end
complete --command berth --no-files --arguments '(__berth_complete)'
"""

SCRIPTS = {
    "bash": Script(_BASH, "XDG_DATA_HOME", ".local/share", "bash-completion/completions/berth", "new shells complete berth, if the "
                   "package bash-completion is installed"),
    "zsh": Script(_ZSH, "XDG_DATA_HOME", ".local/share", "zsh/site-functions/_berth", "add this to ~/.zshrc, before compinit: "
                  "fpath=({directory} $fpath)"),
    "fish": Script(_FISH, "XDG_CONFIG_HOME", ".config", "fish/completions/berth.fish", "new shells complete berth"),
}  # fmt: skip
"""Shell → its script."""


def install_path(shell: str, environment: Mapping[str, str], home: str) -> str:
    """Return the file in which *shell* looks for a user's completion of berth."""
    script = SCRIPTS[shell]
    base = environment.get(script.variable) or f"{home}/{script.fallback}"
    return f"{base}/{script.path}"
