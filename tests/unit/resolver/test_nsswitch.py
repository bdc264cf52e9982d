from resolver import nsswitch


def test_nsswitch_asks_files_and_dns_only():
    text = nsswitch.render("passwd: files\nhosts: resolve [!UNAVAIL=return] files\n")
    assert text == "passwd: files\nhosts: files dns\n"
    assert nsswitch.render("passwd: files\n").endswith("hosts: files dns\n")
