"""Hello World: a small web application to roll out, in as many versions and colours as one likes."""
