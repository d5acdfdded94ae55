// `cloud completion <shell>`: small scripts that ask `cloud complete` at each key press; what there is to complete is known only there.
import { nearest } from '@thecloud/core/contracts';
import { out, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import type { Words } from '../words.ts';

// Answers are lines `word<TAB>meaning`; a first line `:files` asks for the shell's own file names.
const bash = `# cloud completion for bash: source <(cloud completion bash)
_cloud() {
  local line word current=\${COMP_WORDS[COMP_CWORD]} words=("\${COMP_WORDS[@]:1:COMP_CWORD}") colon=
  COMPREPLY=()
  # bash takes words apart at : and =, an image name is one word all the same.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    local cur prev cword
    _get_comp_words_by_ref -n := cur words cword
    current=$cur
    words=("\${words[@]:1:cword}")
  else
    local joined=() part glue=
    for part in "\${words[@]}"; do
      if [[ $part == [:=] || $part == *[:=] && \${#part} -eq 1 ]]; then
        joined[\${#joined[@]}-1]+=$part; glue=1
      elif [[ -n $glue ]]; then
        joined[\${#joined[@]}-1]+=$part; glue=
      else
        joined+=("$part")
      fi
    done
    words=("\${joined[@]}")
    current=\${words[\${#words[@]}-1]}
  fi
  while IFS= read -r line; do
    word=\${line%%$'\\t'*}
    if [[ $word == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
      return
    fi
    [[ $word == "$current"* ]] || continue
    # What stands before the last : or = is already on the line.
    if [[ $current == *[:=]* ]]; then
      colon=\${current%"\${current##*[:=]}"}
      word=\${word#"$colon"}
    fi
    [[ $word == *[=:/] ]] && compopt -o nospace 2>/dev/null
    COMPREPLY+=("$word")
  done < <(cloud complete -- "\${words[@]}" 2>/dev/null)
}
complete -F _cloud cloud
`;

const zsh = `#compdef cloud
# cloud completion for zsh: source <(cloud completion zsh)
_cloud() {
  local -a found
  local line word meaning
  for line in "\${(@f)$(cloud complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -z $line ]] && continue
    word=\${line%%$'\\t'*}
    meaning=\${line#*$'\\t'}
    if [[ $word == :files ]]; then
      _files
      return
    fi
    word=\${word//:/\\\\:}
    [[ $line == *$'\\t'* && -n $meaning ]] && found+=("$word:$meaning") || found+=("$word")
  done
  (( \${#found} )) && _describe -V 'cloud' found
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _cloud "$@"
elif (( $+functions[compdef] )); then
  compdef _cloud cloud
else
  autoload -Uz compinit && compinit -u && compdef _cloud cloud
fi
`;

const fish = `# cloud completion for fish: cloud completion fish | source
function __cloud_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l lines (cloud complete -- $words[2..-1] 2>/dev/null)
  if test "$lines[1]" = ':files'
    __fish_complete_path (commandline -ct)
    return
  end
  printf '%s\\n' $lines
end
complete -c cloud -f -a '(__cloud_complete)'
`;

const SCRIPTS: Readonly<Record<string, string>> = { bash, zsh, fish };

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const shell = words.positionals[0] as string;
  const script = SCRIPTS[shell];
  if (script === undefined) {
    const near = nearest(shell, Object.keys(SCRIPTS));
    throw usage(`There is no completion for "${shell}"; ${near === undefined ? `use ${Object.keys(SCRIPTS).join(', ')}` : `did you mean ${near}?`}`);
  }
  out(script);
  return 0;
}
