"""Go's templates as far as `docker --format` uses them. What each should print was taken from Go's and Docker's documentation."""

import pytest

from resolver.cli.templates import BadTemplate, parse, render

DATA = {
    "ID": "w1", "Names": "web", "Count": 3, "Running": True, "Empty": "", "None": None, "List": ["a", "b"],
    "Label": {"team": "a", "b.c": "d"},
    "NetworkSettings": {"Networks": {"front": {"IPAddress": "10.5.0.2"}, "back": {"IPAddress": "10.6.0.2"}}, "Ports": {"80/tcp": [{"HostPort": "8080"}]}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("plain", "plain"),
        ("{{.ID}}: {{.Names}}", "w1: web"),
        (r"{{.ID}}\t{{.Names}}\n", "w1\tweb\n"),
        ("{{ .Count }} {{.Running}} {{.None}}", "3 true <no value>"),
        ("{{json .List}} {{json .Label}}", '["a","b"] {"team":"a","b.c":"d"}'),
        ("{{.List}} {{.Label}}", "[a b] map[b.c:d team:a]"),
        ('{{.Label "team"}}|{{.Label "nothing"}}|', "a||"),
        ('{{index .Label "b.c"}}', "d"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{.NetworkSettings.Networks.front.IPAddress}}", "10.5.0.2"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.6.0.2 10.5.0.2 "),
        ("{{range $name, $conf := .NetworkSettings.Networks}}{{$name}}={{$conf.IPAddress}};{{end}}", "back=10.6.0.2;front=10.5.0.2;"),
        ("{{range $i, $e := .List}}{{$i}}{{$e}}{{end}}", "0a1b"),
        ("{{range .Empty2}}x{{else}}none{{end}}", "none"),
        ("{{with .Label}}{{.team}}{{end}}{{with .Empty}}x{{else}}-{{end}}", "a-"),
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if .Count}}b{{else}}c{{end}}", "b"),
        ('{{if eq .Names "web" "api"}}y{{end}}{{if and .Running (gt .Count 2)}}z{{end}}{{if not .Empty}}n{{end}}', "yzn"),
        ('{{if or .Empty .Names}}{{end}}{{ne .ID "w1"}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}}', "false true true false"),
        ('{{join .List ", "}} {{.List | len}} {{upper .Names}} {{.Names | lower | title}}', "a, b 2 WEB Web"),
        ('{{split "a,b" ","}} {{printf "%-5s|%3d|%q|%v" .Names .Count .ID .Running}}', '[a b] web  |  3|"w1"|true'),
        ('{{println .ID 1}}{{print "x" .ID}} {{pad .ID 1 2}}| {{truncate .Names 2}} {{slice .Names 1}}', "w1 1\nxw1  w1  | we eb"),
        ("{{$x := .ID}}{{$x}}{{$.Names}}", "w1web"),
        ("a {{- .ID -}} b", "aw1b"),
        ("{{/* nothing */}}{{`raw \"x\"`}}{{\"}}\"}}", 'raw "x"}}'),
    ],
)  # fmt: skip
def test_prints(template, printed):
    assert render(parse(template), DATA | {"Empty2": []}) == printed


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{.ID", "a {{ has no }}"),
        ("{{.Name}}", "there is no field Name; did you mean Names?; there are ID, Names, "),
        ("{{uper .ID}}", "there is no function 'uper'; did you mean upper?"),
        ("{{if .ID}}x", "an if, range or with has no {{end}}"),
        ("{{end}}", "{{end}} has no if, range or with before it"),
        ("{{range .Count}}{{end}}", "range: 3 is neither a list nor an object"),
        ('{{template "x"}}', "{{template}} is not known here"),
        ("{{.ID.More}}", "w1 has no field More"),
        ("{{$y}}", "there is no variable $y"),
        ("{{index .List 9}}", "index: [a b] has nothing at 9"),
        ("{{(.ID}}", "a ( has no )"),
        ("{{.ID}}{{}}", "a value is missing"),
        ("{{.ID ;}}", "';' can't be read"),
        ("{{.ID | .Names}}", "behind | there must be a function, not '.Names'"),
        ("{{len .Count}}", "len: it is for lists, objects and texts"),
        ("{{join}}", "join: it can't be given nothing"),
        ('{{split .ID ""}}', "split: it can't be given w1, "),
        ('{{"\\ud800"}}', "is no text"),
        ("{{" + "(" * 5000 + ".ID" + ")" * 5000 + "}}", "it is nested too deeply"),
        ("{{if .ID}}" * 3000 + "{{end}}" * 3000, "it is nested too deeply"),
        ("{{if .ID}}" + "{{else if .ID}}" * 3000 + "{{end}}", "it is nested too deeply"),
        ("{{" + "9" * 5000 + "}}", "is too long a number"),
        ("{{.ID}}" * 10_000, "it is longer than 65536 characters"),
        ('{{printf "%999999999s" .ID}}', "printf: widths are up to 1000, not 999999999"),
        ('{{printf "%.999999999f" 1}}', "printf: widths are up to 1000"),
        ("{{pad .ID 999999999 1}}", "pad: it is for up to 1000 spaces"),
        ('{{$x := "aaaaaaaaaa"}}' + "{{$x = print $x $x}}" * 40, "print: its result is longer than 16777216 characters"),
    ],
)
def test_what_is_wrong_is_named(template, said):
    with pytest.raises(BadTemplate) as caught:
        render(parse(template), DATA)
    assert said in str(caught.value)
