# Arrays, maps, subshells, here-documents, pipes, functions and traps.
set -eu
declare -A seen
list=()
for ((i = 0; i < 4000; i++)); do
    word="w$((i * 7919 % 1009))"
    list+=("$word")
    seen[$word]=$((${seen[$word]:-0} + i))
done
echo "${#list[@]} ${#seen[@]} ${list[*]: -3} ${seen[w42]}"

total=0
for key in "${!seen[@]}"; do total=$((total + ${seen[$key]})); done
echo "$total"

fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }
fib 8

for n in {1..60}; do (
    copy=("${list[@]}")
    unset "copy[$n]"
    [[ ${#copy[@]} -eq 3999 ]] || echo "subshell $n lost an element"
); done

text=$(cat <<TEXT
${list[0]} and $((6 * 7))
$(printf '%s\n' "${list[@]:0:5}" | sort -r)
TEXT
)
echo "${text^^}"
while IFS= read -r line; do echo "<$line>"; done < <(sed 's/W/v/g' <<<"${text^^}")

long=
for n in {1..2000}; do long+="$n,"; done
echo "${#long} ${long//1/one}" | cut -c1-72
trap 'echo "left with $?"' EXIT
seq 1 20000 | while read -r n; do ((n % 5000)) || echo "$n"; done
mapfile -t lines < <(seq 1 30000)
echo "${#lines[@]} ${lines[29999]}"
exit 0
